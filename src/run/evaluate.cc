#include "src/run/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "src/base/progress.h"
#include "src/model/decoder.h"
#include "src/run/layer_loader.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kTileTokens = 64;  // logits are made for so many tokens at a time

// Sums over one window; windows are added in their order, so that ranks do not change a digit.
struct WindowScore {
  std::int64_t tokens = 0;
  double nll = 0;
  double reference_nll = 0;
  double kl = 0;
  double kl_squared = 0;
  std::int64_t same_top = 0;
};

// A model whose layers have run: final hidden states of my windows and what makes logits of them.
struct Scored {
  std::vector<UnitState> units;
  LinearWeights head;
};

Scored run_model(Job& job, const EvaluatedModel& model, const Samples& windows, std::span<const std::size_t> mine,
                 Progress& progress) {
  Scored out;
  std::size_t longest = 1;
  for (const auto& window : windows) longest = std::max(longest, window.size());
  std::optional<Decoder> decoder;
  collectively(job.world, [&] {
    decoder.emplace(model.spec, job.backend, static_cast<std::int64_t>(longest));
    for (const std::size_t w : mine) {
      UnitState unit = decoder->make_unit({static_cast<std::int64_t>(windows[w].size())});
      std::vector<float> rows(windows[w].size() * static_cast<std::size_t>(model.spec.hidden));
      embed(model.source, model.spec, windows[w], rows);
      job.backend.for_each(
          1, [&](Stream& stream, std::int64_t) { job.backend.upload(stream, rows, unit.hidden_matrix(model.spec.hidden)); });
      out.units.push_back(std::move(unit));
    }
  });
  const auto for_units = [&](auto&& body) {
    collectively(job.world, [&] {
      job.backend.for_each(static_cast<std::int64_t>(out.units.size()),
                           [&](Stream& stream, std::int64_t i) { body(stream, out.units[static_cast<std::size_t>(i)]); });
    });
  };
  LayerLoader loader(job, model.source, model.spec);
  for (const LayerSpec& layer : model.spec.layers) {
    const auto start = std::chrono::steady_clock::now();
    const LayerWeights weights = loader.load_forward(layer);
    for_units([&](Stream& stream, UnitState& unit) { decoder->run_layer(stream, layer, weights, unit); });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    progress.item_done(fmt::format("{:.1f} s", took.count()));
  }
  VectorWeights norm;
  collectively(job.world, [&] { norm = load_vector(model.source, model.spec.final_norm, model.spec.hidden, job.backend); });
  for_units([&](Stream& stream, UnitState& unit) {
    const Matrix hidden = unit.hidden_matrix(model.spec.hidden);
    decoder->final_norm(stream, hidden, norm, hidden);
  });
  if (model.spec.head.rounded_input)
    for_units([&](Stream& stream, UnitState& unit) {
      const Matrix hidden = unit.hidden_matrix(model.spec.hidden);
      job.backend.round_activations(stream, hidden, hidden);
    });
  out.head = loader.load_head().forward;
  return out;
}

// Log-probabilities of rows [begin, end) of a unit, in place of the logits: [rows, vocab].
std::vector<float> log_probabilities(Job& job, Stream& stream, const Scored& model, std::size_t unit, std::int64_t hidden,
                                     std::int64_t begin, std::int64_t end) {
  const std::int64_t vocab = model.head.rows;
  const BackendBuffer buffer = job.backend.allocate(static_cast<std::size_t>((end - begin) * vocab) * sizeof(float));
  const Matrix logits = buffer.matrix(end - begin, vocab);
  job.backend.linear(stream, model.units[unit].hidden_matrix(hidden).row_range(begin, end), model.head.matrix(), nullptr, logits);
  std::vector<float> values(static_cast<std::size_t>(logits.rows * vocab));
  job.backend.download(stream, logits, values);
  for (std::int64_t r = 0; r < logits.rows; ++r) {
    const std::span<float> row = std::span(values).subspan(static_cast<std::size_t>(r * vocab), static_cast<std::size_t>(vocab));
    const float top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x - top));
    const double log_sum = static_cast<double>(top) + std::log(sum);
    for (float& x : row) x = static_cast<float>(static_cast<double>(x) - log_sum);
  }
  return values;
}

WindowScore score_window(Job& job, Stream& stream, const Scored& model, const Scored* reference, std::size_t unit,
                         std::int64_t hidden, std::int64_t reference_hidden, std::span<const std::int32_t> ids) {
  WindowScore score;
  const auto targets = static_cast<std::int64_t>(ids.size()) - 1;
  const auto vocab = static_cast<std::size_t>(model.head.rows);
  for (std::int64_t begin = 0; begin < targets; begin += kTileTokens) {
    const std::int64_t end = std::min(targets, begin + kTileTokens);
    const std::vector<float> log_q = log_probabilities(job, stream, model, unit, hidden, begin, end);
    std::vector<float> log_p;
    if (reference != nullptr) log_p = log_probabilities(job, stream, *reference, unit, reference_hidden, begin, end);
    for (std::int64_t t = begin; t < end; ++t) {
      const std::span<const float> q = std::span(log_q).subspan(static_cast<std::size_t>(t - begin) * vocab, vocab);
      score.nll -= static_cast<double>(q[static_cast<std::size_t>(ids[static_cast<std::size_t>(t) + 1])]);
      ++score.tokens;
      if (reference == nullptr) continue;
      const std::span<const float> p = std::span<const float>(log_p).subspan(static_cast<std::size_t>(t - begin) * vocab, vocab);
      double kl = 0;
      for (std::size_t v = 0; v < vocab; ++v) kl += std::exp(static_cast<double>(p[v])) * static_cast<double>(p[v] - q[v]);
      score.reference_nll -= static_cast<double>(p[static_cast<std::size_t>(ids[static_cast<std::size_t>(t) + 1])]);
      score.kl += kl;
      score.kl_squared += kl * kl;
      if (std::max_element(p.begin(), p.end()) - p.begin() == std::max_element(q.begin(), q.end()) - q.begin()) ++score.same_top;
    }
  }
  return score;
}

Evaluation total(const std::vector<WindowScore>& scores, bool compared) {
  WindowScore sum;
  for (const WindowScore& score : scores) {
    sum.tokens += score.tokens;
    sum.nll += score.nll;
    sum.reference_nll += score.reference_nll;
    sum.kl += score.kl;
    sum.kl_squared += score.kl_squared;
    sum.same_top += score.same_top;
  }
  const auto n = static_cast<double>(sum.tokens);
  Evaluation out;
  out.tokens = sum.tokens;
  out.nll = sum.nll / n;
  out.perplexity = std::exp(out.nll);
  out.compared = compared;
  if (!compared) return out;
  out.reference_perplexity = std::exp(sum.reference_nll / n);
  out.kl_divergence = std::max(0.0, sum.kl / n);  // of equal distributions rounding leaves a little on either side
  const double variance = std::max(0.0, sum.kl_squared / n - out.kl_divergence * out.kl_divergence);
  out.kl_standard_error = std::sqrt(variance / n);
  out.top1_agreement = static_cast<double>(sum.same_top) / n;
  return out;
}

}  // namespace

Json Evaluation::to_json() const {
  Json out{{"perplexity", perplexity}, {"tokens", tokens}, {"nll", nll}};
  if (compared) {
    out["reference_perplexity"] = reference_perplexity;
    out["kl_divergence"] = kl_divergence;
    out["kl_standard_error"] = kl_standard_error;
    out["top1_agreement"] = top1_agreement;
  }
  return out;
}

Evaluation evaluate(Job& job, const EvaluatedModel& model, const std::optional<EvaluatedModel>& reference,
                    const Samples& windows) {
  check(!windows.empty(), ExitCode::kInput,
        "no window of text to score (perplexity needs one) give a longer text or a smaller --window");
  for (const auto& window : windows)
    check(window.size() >= 2, ExitCode::kInput, "a window of {} tokens (scoring needs two) use a larger --window", window.size());
  if (reference)
    check(reference->spec.vocab == model.spec.vocab, ExitCode::kInput,
          "the reference has {} tokens in its vocabulary and the model {} (their distributions cannot be compared)",
          reference->spec.vocab, model.spec.vocab);
  std::vector<std::size_t> mine;
  for (auto w = static_cast<std::size_t>(job.world.rank()); w < windows.size(); w += static_cast<std::size_t>(job.world.size()))
    mine.push_back(w);
  const std::size_t layers = model.spec.layers.size() + (reference ? reference->spec.layers.size() : 0);
  Progress progress("layer", static_cast<std::int64_t>(layers));
  const Scored scored = run_model(job, model, windows, mine, progress);
  std::optional<Scored> scored_reference;
  if (reference) scored_reference = run_model(job, *reference, windows, mine, progress);

  std::vector<WindowScore> my_scores(mine.size());
  collectively(job.world, [&] {
    job.backend.for_each(static_cast<std::int64_t>(mine.size()), [&](Stream& stream, std::int64_t i) {
      const auto unit = static_cast<std::size_t>(i);
      my_scores[unit] = score_window(job, stream, scored, scored_reference ? &*scored_reference : nullptr, unit,
                                     model.spec.hidden, reference ? reference->spec.hidden : 0, windows[mine[unit]]);
    });
  });
  const auto by_rank = all_gather_bytes(job.world, std::as_bytes(std::span<const WindowScore>(my_scores)));
  std::vector<WindowScore> all(windows.size());
  for (std::size_t r = 0; r < by_rank.size(); ++r)
    for (std::size_t i = 0; i * sizeof(WindowScore) < by_rank[r].size(); ++i)
      std::copy_n(by_rank[r].begin() + static_cast<std::ptrdiff_t>(i * sizeof(WindowScore)), sizeof(WindowScore),
                  reinterpret_cast<std::byte*>(&all[r + i * by_rank.size()]));
  return total(all, reference.has_value());
}

}  // namespace mpiquant
