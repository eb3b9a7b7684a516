#include "src/text/spm_model.h"

#include <bit>

#include "src/base/error.h"

namespace mpiquant {

namespace {

// A field of a protobuf message: `number` for varints and fixed values, `bytes` for strings and messages.
struct Field {
  std::uint64_t id = 0;
  std::uint64_t number = 0;
  std::string_view bytes;
};

// Reads the fields of one message in protobuf's wire format.
class WireReader {
 public:
  WireReader(std::string_view bytes, std::string_view what) : bytes_(bytes), what_(what) {}

  bool next(Field& field) {
    if (pos_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    field = {tag >> 3, 0, {}};
    switch (tag & 7) {
      case 0: field.number = varint(); return true;
      case 1: field.number = fixed(8); return true;
      case 2: field.bytes = take(varint()); return true;
      case 5: field.number = fixed(4); return true;
      default: damaged();
    }
  }

 private:
  [[noreturn]] void damaged() const {
    fail(ExitCode::kInput, "{} is not a SentencePiece model (it ends or breaks at byte {} of a message) download it again", what_,
         pos_);
  }
  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size() - pos_) damaged();
    const std::string_view part = bytes_.substr(pos_, static_cast<std::size_t>(size));
    pos_ += part.size();
    return part;
  }
  std::uint64_t fixed(std::size_t size) {
    const std::string_view part = take(size);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value |= std::uint64_t{static_cast<unsigned char>(part[i])} << (8 * i);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    damaged();
  }

  std::string_view bytes_;
  std::string_view what_;
  std::size_t pos_ = 0;
};

void read_piece(std::string_view bytes, std::string_view what, SpmModel& model) {
  WireReader reader(bytes, what);
  std::string piece;
  float score = 0;
  std::uint64_t type = 1;
  for (Field field; reader.next(field);) {
    if (field.id == 1) piece = field.bytes;
    if (field.id == 2) score = std::bit_cast<float>(static_cast<std::uint32_t>(field.number));
    if (field.id == 3) type = field.number;
  }
  check(type >= 1 && type <= 6, ExitCode::kInput, "{} has a piece of the unknown type {}", what, type);
  // The library's trie takes no other; it throws.
  check(!piece.empty() && piece.find('\0') == std::string::npos, ExitCode::kInput,
        "{} has an empty piece or one with a zero byte at id {} (it is damaged) download it again", what, model.pieces.size());
  model.pieces.push_back(std::move(piece));
  model.scores.push_back(score);
  model.types.push_back(static_cast<TokenType>(type));
}

TokenizerKind read_kind(std::string_view trainer_spec, std::string_view what) {
  WireReader reader(trainer_spec, what);
  std::uint64_t type = 1;
  for (Field field; reader.next(field);)
    if (field.id == 3) type = field.number;
  check(type == 1 || type == 2, ExitCode::kInput, "{} is a SentencePiece model of type {} (only unigram and BPE are supported)",
        what, type);
  return type == 2 ? TokenizerKind::kSentencePieceBpe : TokenizerKind::kSentencePieceUnigram;
}

}  // namespace

SpmModel parse_spm_model(std::string_view bytes, std::string_view what) {
  SpmModel model;
  WireReader reader(bytes, what);
  for (Field field; reader.next(field);) {
    if (field.id == 1) read_piece(field.bytes, what, model);
    if (field.id == 2) model.kind = read_kind(field.bytes, what);
    if (field.id != 3) continue;
    WireReader normalizer(field.bytes, what);
    for (Field part; normalizer.next(part);)
      if (part.id == 3) model.add_dummy_prefix = part.number != 0;
  }
  check(!model.pieces.empty(), ExitCode::kInput, "{} has no pieces (it is not a SentencePiece model)", what);
  return model;
}

}  // namespace mpiquant
