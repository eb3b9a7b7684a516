#include "src/run/layer_lines.h"

#include <fmt/format.h>

#include <algorithm>

namespace mpiquant {
namespace {

constexpr int kLineTag = 2;  // beside that of hidden states

}  // namespace

LayerLines::LayerLines(const Grid& grid, std::int64_t total, std::int64_t done) : grid_(grid) {
  if (grid.stage() != 0 || grid.replica() != 0) return;
  progress_.emplace("layer", total, done);
  for (int stage = 1; stage < grid.shape.stages; ++stage) receive(stages_.emplace_back(Stage{stage}));
}

void LayerLines::receive(Stage& stage) { stage.pending = grid_.pipe->start_recv(bytes_of(stage.line), stage.number, kLineTag); }

void LayerLines::take(Stage& stage) {
  const std::string text(stage.line.begin(), std::ranges::find(stage.line, '\0'));
  stage.open = !text.empty();
  if (!stage.open) return;
  progress_->item_done(fmt::format("stage {}, {}", stage.number, text));
  receive(stage);
}

void LayerLines::poll() {
  for (Stage& stage : stages_)
    while (stage.open && stage.pending.test()) take(stage);
}

void LayerLines::layer_done(const std::string& facts) {
  if (grid_.replica() != 0) return;
  if (!speaks()) return send(facts);
  progress_->item_done(grid_.shape.stages == 1 ? facts : "stage 0, " + facts);
  poll();
}

void LayerLines::send(const std::string& text) {
  while (!under_way_.empty() && under_way_.front().second.test()) under_way_.pop_front();
  auto& [line, pending] = under_way_.emplace_back();
  std::ranges::copy(text.substr(0, line.size() - 1), line.begin());
  pending = grid_.pipe->start_send(bytes_of(std::as_const(line)), 0, kLineTag);
}

void LayerLines::end_stage() {
  if (grid_.replica() != 0 || speaks()) return;
  send("");
  for (auto& [line, pending] : under_way_) pending.wait();
}

void LayerLines::end() {
  for (Stage& stage : stages_)
    while (stage.open) {
      stage.pending.wait();
      take(stage);
    }
  progress_.reset();
}

}  // namespace mpiquant
