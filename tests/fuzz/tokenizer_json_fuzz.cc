// A tokenizer.json, and texts it encodes.
#include "src/text/tokenizer.h"
#include "tests/fuzz/fuzz_support.h"

void mpiquant::fuzz_target(std::string_view data) {
  fuzz_file("tokenizer.json", data);
  const auto tokenizer = Tokenizer::load(fuzz_folder());
  for (const char* text : {"", " a bc  12 34\n\nIt's", "d\xc3\xa9j\xc3\xa0 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x99\x82<s></s>"})
    refusable([&] { tokenizer->encode(text, true); });
}
