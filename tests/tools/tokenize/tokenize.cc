// mq_tokenize DIR FILE [special]: prints the token ids of every text of FILE (a JSON list of strings), one line each.
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "io/file.h"
#include "src/base/error.h"
#include "src/text/tokenizer.h"

int main(int argc, char** argv) {
  try {
    mpiquant::check(argc == 3 || (argc == 4 && std::strcmp(argv[3], "special") == 0), mpiquant::ExitCode::kUsage,
                    "usage: mq_tokenize DIR FILE [special]");
    const auto tokenizer = mpiquant::Tokenizer::load(argv[1]);
    const mpiquant::Json texts = mpiquant::parse_json(mpiquant::read_text_file(argv[2]), argv[2]);
    for (const mpiquant::Json& text : texts) {
      std::string line;
      for (const std::int32_t id : tokenizer->encode(text.get_ref<const std::string&>(), argc == 4))
        line += fmt::format("{} ", id);
      std::puts(line.c_str());
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
