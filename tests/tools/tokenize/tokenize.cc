// mq_tokenize DIR FILE [special]: prints the token ids of every text of FILE, one line each. Texts are separated by NUL bytes.
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "src/base/error.h"
#include "io/file.h"
#include "src/text/tokenizer.h"

int main(int argc, char** argv) {
  try {
    mpiquant::check(argc == 3 || (argc == 4 && std::strcmp(argv[3], "special") == 0), mpiquant::ExitCode::kUsage,
                    "usage: mq_tokenize DIR FILE [special]");
    const auto tokenizer = mpiquant::Tokenizer::load(argv[1]);
    const std::string texts = mpiquant::read_text_file(argv[2]);
    for (std::size_t begin = 0; begin <= texts.size();) {
      const std::size_t end = std::min(texts.find('\0', begin), texts.size());
      std::string line;
      for (const std::int32_t id : tokenizer->encode(std::string_view(texts).substr(begin, end - begin), argc == 4))
        line += fmt::format("{} ", id);
      std::puts(line.c_str());
      begin = end + 1;
    }
    return 0;
  } catch (const mpiquant::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "internal error: %s\n", e.what());
    return 1;
  }
}
