#include "src/run/fingerprint.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>

#include "io/safetensors_source.h"
#include "src/comm/thread_comm.h"
#include "tests/io/model_file.h"

namespace mpiquant {
namespace {

std::string fingerprint(const std::string& folder, int ranks = 1) {
  std::set<std::string> seen;
  std::mutex mutex;
  const SafetensorsSource source(folder);
  run_on_threads(ranks, [&](Communicator& world) {
    const std::string mine = model_fingerprint(world, source);
    const std::lock_guard lock(mutex);
    seen.insert(mine);
  });
  EXPECT_EQ(seen.size(), 1U);
  return *seen.begin();
}

TEST(Fingerprint, IsOfTheTensorsHoweverTheyAreFiledAndSharedOut) {
  const TemporaryFolder whole, shards;
  const std::vector<SafetensorsTensor> a = {{"a", "F32", {20, 3}}, {"b", "F16", {3}}};
  const std::vector<SafetensorsTensor> c = {{"c", "BF16", {7}}};
  write_model(whole / "model.safetensors", {a[0], c[0], a[1]});
  write_model(shards / "1.safetensors", a);
  write_model(shards / "2.safetensors", c);
  write_text_file(shards / "model.safetensors.index.json",
                  R"({"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}})");
  const std::string hash = fingerprint(whole.path());
  EXPECT_EQ(hash.size(), 32U);
  for (const int ranks : {1, 2, 5}) EXPECT_EQ(fingerprint(shards.path(), ranks), hash) << ranks;

  const auto changed = [&](const std::vector<SafetensorsTensor>& tensors) {
    write_model(shards / "model.safetensors", tensors);
    return fingerprint(shards.path());
  };
  EXPECT_EQ(changed({a[0], a[1], c[0]}), hash);
  EXPECT_NE(changed({{"a", "F32", {3, 20}}, a[1], c[0]}), hash);
  EXPECT_NE(changed({a[0], {"b", "U16", {3}}, c[0]}), hash);
  EXPECT_NE(changed({a[0], a[1], {"d", "BF16", {7}}}), hash);
}

TEST(Fingerprint, SeesEveryTensorAtThreePlaces) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.safetensors";
  constexpr std::int64_t kBytes = 4 * 10000, kSmall = 4 * 2048;
  write_model(path, {{"a", "F32", {100, 100}}, {"b", "F32", {2048}}, {"c", "F32", {5}}});
  const std::string hash = fingerprint(folder.path());
  const std::int64_t data = File::open_read(path).size() - kBytes - kSmall - 20;
  for (const std::int64_t at : {std::int64_t{0}, kBytes / 2, kBytes - 1, kBytes, kBytes + 4095, kBytes + 4096,
                                kBytes + kSmall - 1, kBytes + kSmall + 19}) {
    File file = File::open_write(path);
    std::byte kept{}, other{};
    file.read_at(data + at, std::span(&kept, 1));
    other = kept ^ std::byte{1};
    file.write_at(data + at, std::span(&other, 1));
    EXPECT_NE(fingerprint(folder.path()), hash) << at;
    file.write_at(data + at, std::span(&kept, 1));
    EXPECT_EQ(fingerprint(folder.path()), hash) << at;
  }
  const SafetensorsSource source(folder.path());
  run_on_threads(1, [&](Communicator& world) { model_fingerprint(world, source); });
  EXPECT_EQ(source.bytes_read(), 3 * 4096 + kSmall + 20);
}

TEST(Fingerprint, StampsFollowNamesSizesAndTimes) {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  const std::string path = folder / "model.safetensors";
  write_text_file(path, "1234");
  const auto stamp = [&] {
    return stamps({{path, static_cast<std::int64_t>(fs::file_size(path)), fs::last_write_time(path).time_since_epoch().count()}});
  };
  const std::string before = stamp();
  EXPECT_EQ(before.substr(0, before.rfind(' ')), "model.safetensors 4");
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::microseconds(1));
  EXPECT_NE(stamp(), before);
}

}  // namespace
}  // namespace mpiquant
