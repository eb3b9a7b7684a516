// Codes and losses of the sweep against the plain fp64 GPTQ of tests/conformance/reference_gptq.py (see make_reference.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "src/base/error.h"
#include "src/base/json.h"
#include "src/quant/method.h"

namespace mpiquant {
namespace {

struct Reference {
  Reference() {
    const char* given = std::getenv("MPIQUANT_GPTQ_REFERENCE");  // a file of make_reference.py --full
    std::ifstream file(given != nullptr ? given : MPIQUANT_SOURCE_DIR "/tests/quant/reference.safetensors", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
    std::uint64_t length = 0;
    expect(bytes.size() > sizeof length, "no reference");
    std::memcpy(&length, bytes.data(), sizeof length);
    header = parse_json(std::string_view(bytes).substr(8, length), "reference");
    base = 8 + length;
    tests = parse_json(header["__metadata__"]["tests"].get<std::string>(), "tests");
  }
  template <typename T>
  std::vector<T> values(const std::string& name) const {
    const auto begin = header[name]["data_offsets"][0].get<std::size_t>(),
               end = header[name]["data_offsets"][1].get<std::size_t>();
    std::vector<T> out((end - begin) / sizeof(T));
    std::memcpy(out.data(), bytes.data() + base + begin, end - begin);
    return out;
  }
  std::int64_t rows(const std::string& name) const { return header[name]["shape"][0].get<std::int64_t>(); }

  std::string bytes;
  std::size_t base;
  Json header, tests;
};

struct Problem {
  std::vector<float> w, h;
  std::int64_t rows, cols;
  CodecSpec codec;
  ActOrder order;
};

Problem problem_of(const Reference& reference, const Json& test) {
  const std::string name = test["case"].get<std::string>();
  Problem out{reference.values<float>("W." + name), reference.values<float>("H." + name), reference.rows("W." + name), 0, {}, {}};
  out.cols = static_cast<std::int64_t>(out.w.size()) / out.rows;
  out.codec = {.bits = test["bits"].get<int>(),
               .group_size = test["group"].get<std::int64_t>(),
               .symmetric = test["sym"].get<bool>(),
               .scale_dtype = dtype_from_safetensors(test["stored"].get<std::string>()).value(),
               .mse = test["mse"].get<bool>()};
  const std::map<std::string, ActOrder> orders = {
      {"none", ActOrder::kNone}, {"static", ActOrder::kStatic}, {"dynamic", ActOrder::kDynamic}};
  out.order = orders.at(test["order"].get<std::string>());
  return out;
}

struct Outcome {
  double equal = 0;   // share of codes
  double loss = 0;    // relative difference
  double output = 0;  // relative difference of tr(Δw H Δwᵀ)
};

double output_error(Backend& backend, const Problem& p, const EncodedRows& rows, const Factor& factor) {
  std::vector<float> values(p.w.size());
  Stream stream;
  backend.decode(stream, rows, p.codec, group_index(p.codec, &factor, p.cols),
                 {values.data(), p.rows, p.cols, p.cols, MemSpace::kHost});
  double sum = 0;
  for (std::int64_t r = 0; r < p.rows; ++r) {
    std::vector<double> d(static_cast<std::size_t>(p.cols));
    for (std::size_t c = 0; c < d.size(); ++c) {
      const std::size_t at = static_cast<std::size_t>(r * p.cols) + c;
      d[c] = static_cast<double>(p.w[at]) - static_cast<double>(values[at]);
    }
    std::size_t at = 0;
    for (std::size_t i = 0; i < d.size(); ++i)
      for (std::size_t j = i; j < d.size(); ++j) sum += (i == j ? 1 : 2) * d[i] * d[j] * static_cast<double>(p.h[at++]);
  }
  return sum;
}

Outcome compare(const Reference& reference, const Json& test, std::size_t index, const FactorOptions& options) {
  const Problem p = problem_of(reference, test);
  const auto backend = make_cpu_backend(1);
  FactorOptions used = options;
  used.order = p.order;
  const Factor factor = backend->factor(p.h, p.cols, used);
  Stream stream;
  const EncodedRows rows =
      find_method("gptq").convert(*backend, stream, {p.w.data(), p.rows, p.cols, p.cols, MemSpace::kHost}, &factor, p.codec, 0);
  const auto codes = reference.values<std::uint8_t>("codes." + std::to_string(index));
  Outcome out;
  for (std::size_t i = 0; i < codes.size(); ++i)
    out.equal += codes[i] == rows.codes[i] ? 1.0 / static_cast<double>(codes.size()) : 0;
  double loss = 0;
  for (const double row : rows.loss) loss += row;
  out.loss = loss / test["loss"].get<double>() - 1;
  out.output = output_error(*backend, p, rows, factor) / test["output"].get<double>() - 1;
  return out;
}

TEST(GptqReference, CodesAndLossesAreThoseOfTheReference) {
  const Reference reference;
  ASSERT_GE(reference.tests.size(), 40U);
  for (std::size_t i = 0; i < reference.tests.size(); ++i) {
    const Json& test = reference.tests[i];
    const Outcome outcome = compare(reference, test, i, {});
    std::printf("%s: %.5f equal, loss %+.6f, output %+.6f\n", test.dump().c_str(), outcome.equal, outcome.loss, outcome.output);
    EXPECT_GE(outcome.equal, 0.99) << test.dump();
    EXPECT_LE(std::abs(outcome.loss), 1e-3) << test.dump();
    EXPECT_LE(std::abs(outcome.output), 1e-3) << test.dump();
  }
}

// The comparison must see an error of the algorithm: another damping changes codes at 4 bits on real activations.
TEST(GptqReference, AWrongDampingIsSeen) {
  const Reference reference;
  int seen = 0, looked = 0;
  for (std::size_t i = 0; i < reference.tests.size(); ++i) {
    if (reference.tests[i]["bits"].get<int>() < 4) continue;
    ++looked;
    seen += compare(reference, reference.tests[i], i, {.damp_percent = 0.02}).equal < 0.99 ? 1 : 0;
  }
  EXPECT_GT(looked, 0);
  EXPECT_EQ(seen, looked);
}

}  // namespace
}  // namespace mpiquant
