// A tokenizer.model, and texts it encodes.
#include "src/text/spm_model.h"
#include "src/text/tokenizer.h"
#include "tests/fuzz/fuzz_support.h"

void mpiquant::fuzz_target(std::string_view data) {
  parse_spm_model(data, "tokenizer.model");
  fuzz_file("tokenizer.model", data);
  const auto tokenizer = Tokenizer::load(fuzz_folder());
  for (const char* text : {"", " a bc  12\n", "d\xc3\xa9j\xc3\xa0 \xe4\xb8\xad<s></s>"})
    refusable([&] { tokenizer->encode(text, true); });
}
