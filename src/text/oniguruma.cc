#include "src/text/oniguruma.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/text/unicode_data.h"

namespace mpiquant {

namespace {

constexpr std::string_view kWhiteSpace =
    R"(\x09-\x0D\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0E-\x1F\x21-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}\x{202A}-\x{202E})"
    R"(\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{10FFFF})";

bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string ranges_text(std::span<const CodeRange> ranges, std::string_view category) {
  std::string text;
  for (const CodeRange& range : ranges)
    if (range.category.starts_with(category))
      text += fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", std::uint32_t{range.first}, std::uint32_t{range.last});
  return text;
}

class Translator {
 public:
  explicit Translator(const std::string& pattern) : in_(pattern) {}

  std::string run() {
    while (pos_ < in_.size()) step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view construct) const {
    fail(ExitCode::kInput,
         "the tokenizer's regular expression {} uses {} at byte {} (it is not supported; token ids would differ)", in_, construct,
         pos_);
  }

  char peek(std::size_t ahead = 0) const { return pos_ + ahead < in_.size() ? in_[pos_ + ahead] : '\0'; }
  bool at(std::string_view text) const { return std::string_view(in_).substr(pos_).starts_with(text); }

  void atom(std::string_view text) {
    atom_ = out_.size();
    out_ += text;
  }

  void step() {
    switch (peek()) {
      case '\\': atom(escape()); return;
      case '[': atom(bracket()); return;
      case '(': open_group(); return;
      case ')': close_group(); return;
      case '{': interval(); return;
      default: break;
    }
    const char c = in_[pos_++];
    if (c == '*' || c == '+' || c == '?' || c == '|') {
      out_ += c;
    } else if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) {
      out_ += c;  // inside a UTF-8 sequence
    } else {
      atom(std::string_view(&c, 1));
    }
  }

  void open_group() {
    groups_.push_back(out_.size());
    ++pos_;
    out_ += '(';
    if (peek() != '?') return;
    for (const std::string_view kind : {"?:", "?=", "?!", "?>", "?<=", "?<!"}) {
      if (!at(kind)) continue;
      out_ += kind;
      pos_ += kind.size();
      return;
    }
    out_ += '?';
    ++pos_;
    // Options: Ruby's m is everyone else's s.
    while (peek() == 'i' || peek() == 'm' || peek() == '-') {
      out_ += peek() == 'm' ? 's' : peek();
      ++pos_;
    }
    if (peek() != ':' && peek() != ')') refuse("an unknown kind of group");
    if (peek() == ':') {
      out_ += ':';
      ++pos_;
    }
  }

  void close_group() {
    if (groups_.empty()) refuse("an unmatched )");
    atom_ = groups_.back();
    groups_.pop_back();
    out_ += ')';
    ++pos_;
  }

  // {n}, {n,}, {n,m}, {,m}; a brace that is none of them stands for itself.
  void interval() {
    std::size_t end = pos_ + 1;
    while (end < in_.size() && (is_digit(in_[end]) || in_[end] == ',')) ++end;
    std::string bounds = in_.substr(pos_ + 1, end - pos_ - 1);
    const auto commas = std::count(bounds.begin(), bounds.end(), ',');
    if (end >= in_.size() || in_[end] != '}' || bounds.empty() || bounds == "," || commas > 1) {
      atom("\\{");
      ++pos_;
      return;
    }
    if (bounds.front() == ',') bounds.insert(0, "0");
    pos_ = end + 1;
    if (peek() == '?' && commas == 0) refuse("a lazy fixed repeat");
    out_ += "{" + bounds + "}";
    // In Ruby's syntax {n,m}+ repeats the repeat; elsewhere it is possessive.
    if (peek() == '+') {
      out_.insert(atom_, "(?:");
      out_ += ')';
    }
  }

  // Reads an escape outside a class.
  std::string escape() {
    const char c = peek(1);
    switch (c) {
      case 'S': pos_ += 2; return fmt::format("[^{}]", kWhiteSpace);
      case 'W': pos_ += 2; return fmt::format("[^{}]", word());
      case 'D': pos_ += 2; return fmt::format("[^{}]", property("Nd"));
      case 'A':
      case 'z':
      case 'Z': pos_ += 2; return {'\\', c};
      default: break;
    }
    bool negated = false;
    const std::string members = class_escape(negated);
    const bool set = c == 's' || c == 'w' || c == 'd' || c == 'h' || c == 'p' || c == 'P';
    return set ? fmt::format("[{}{}]", negated ? "^" : "", members) : members;
  }

  // Reads an escape and gives it as members of a class. `negated`: the set is the complement of the members.
  std::string class_escape(bool& negated) {
    const char c = peek(1);
    switch (c) {
      case 's': pos_ += 2; return std::string(kWhiteSpace);
      case 'S': pos_ += 2; return std::string(kNotSpace);
      case 'w': pos_ += 2; return word();
      case 'd': pos_ += 2; return property("Nd");
      case 'h': pos_ += 2; return "0-9A-Fa-f";
      case 'v': pos_ += 2; return "\\x0B";
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e': pos_ += 2; return {'\\', c};
      case 'p':
      case 'P': return named_property(negated);
      case 'x':
      case 'u': return code_point();
      default: break;
    }
    if (c == '\0' || is_letter(c) || is_digit(c)) refuse(fmt::format("the escape \\{}", c));
    pos_ += 2;
    // A multi-byte character may follow a needless backslash.
    return static_cast<unsigned char>(c) < 0x80 ? std::string{'\\', c} : std::string{c};
  }

  std::string word() const { return property("L") + property("M") + property("N") + property("Pc"); }

  std::string property(std::string_view name) const {
    return fmt::format("\\p{{{}}}", name) + ranges_text(unicode_additions(), name);
  }

  std::string named_property(bool& negated) {
    negated = peek(1) == 'P';
    std::size_t begin = pos_ + 3;
    const std::size_t end = in_.find('}', pos_);
    if (peek(2) != '{' || end == std::string::npos) refuse("a property without braces");
    if (in_[begin] == '^') {
      negated = !negated;
      ++begin;
    }
    const std::string name = in_.substr(begin, end - begin);
    static constexpr std::string_view kCategories =
        " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp Cc Cf Co ";
    if (name != "Han" && kCategories.find(" " + name + " ") == std::string_view::npos)
      refuse(fmt::format("the property {}", name));
    pos_ = end + 1;
    return name == "Han" ? ranges_text(han_script(), "") : property(name);
  }

  // \xHH below 0x80, \x{H…} or \uHHHH.
  std::string code_point() {
    const auto hex = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
    const bool braces = peek(1) == 'x' && peek(2) == '{';
    const std::size_t begin = pos_ + (braces ? 3 : 2);
    const std::size_t most = braces ? 8 : peek(1) == 'u' ? 4 : 2;
    std::size_t end = begin;
    while (end < in_.size() && end - begin < most && hex(in_[end])) ++end;
    const bool closed = !braces || (end < in_.size() && in_[end] == '}');
    const std::string digits = in_.substr(begin, end - begin);
    const bool byte = most == 2;
    if (digits.empty() || !closed || (most == 4 && digits.size() != 4) || (byte && digits.size() == 2 && digits[0] >= '8'))
      refuse("an unusual code point escape");
    pos_ = end + (braces ? 1 : 0);
    return fmt::format("\\x{{{}}}", digits);
  }

  struct Class {
    bool negated = false;
    std::string members;
    std::string except;  // of "&&[^except]"
  };

  std::string bracket() {
    const Class set = read_class();
    if (set.except.empty()) return fmt::format("[{}{}]", set.negated ? "^" : "", set.members);
    return fmt::format("(?:(?![{}])[{}{}])", set.except, set.negated ? "^" : "", set.members);
  }

  // Reads "[…]"; nested classes are joined, "&&[^…]" at the end is taken off.
  Class read_class() {
    Class set;
    ++pos_;
    if (peek() == '^') {
      set.negated = true;
      ++pos_;
    }
    if (peek() == ']') refuse("a class that begins with ]");
    while (peek() != ']') {
      if (pos_ >= in_.size()) refuse("an unfinished class");
      if (peek() == '\\') {
        bool negated = false;
        set.members += class_escape(negated);
        if (negated) refuse("a negated property inside a class");
      } else if (at("[:")) {
        refuse("a POSIX class");
      } else if (peek() == '[') {
        const Class inner = read_class();
        if (inner.negated || !inner.except.empty()) refuse("a negated class inside a class");
        set.members += inner.members;
      } else if (at("&&")) {
        pos_ += 2;
        if (peek() != '[' || set.negated) refuse("an intersection of classes other than [..&&[^..]]");
        const Class other = read_class();
        if (!other.negated || !other.except.empty() || peek() != ']') refuse("an intersection of classes other than [..&&[^..]]");
        set.except = other.members;
      } else {
        set.members += in_[pos_++];
      }
    }
    ++pos_;
    return set;
  }

  const std::string& in_;
  std::size_t pos_ = 0;
  std::string out_;
  std::size_t atom_ = 0;             // where the last atom begins in out_
  std::vector<std::size_t> groups_;  // where the open groups begin in out_
};

}  // namespace

std::string oniguruma_to_pcre2(const std::string& pattern) { return Translator(pattern).run(); }

}  // namespace mpiquant
