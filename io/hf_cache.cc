#include "io/hf_cache.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string_view>

#include "io/file.h"
#include "src/base/environment.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

// The last component of a path that may end in a slash or in dots.
std::string last_component(const fs::path& directory) {
  const fs::path whole = fs::weakly_canonical(directory);
  return whole.has_filename() ? whole.filename().string() : whole.parent_path().filename().string();
}

// A part of a Hub id: letters, digits, '.', '_', '-' and what `more` allows, from a letter or digit on, never "..".
bool is_name(const std::string& text, std::string_view more) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0; };
  const auto allowed = [&](char c) {
    return plain(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-' || more.find(c) != std::string_view::npos;
  };
  return !text.empty() && plain(static_cast<unsigned char>(text[0])) && std::ranges::all_of(text, allowed) &&
         text.find("..") == std::string::npos;
}

// The commit that a revision stands for in a repository's folder; empty when the cache does not have it.
std::string find_commit(const fs::path& repository, const std::string& revision) {
  const fs::path reference = repository / "refs" / revision;
  std::string commit = revision;
  if (path_kind(reference.string()) == PathKind::kFile) {
    constexpr std::int64_t kMaxReferenceBytes = 4096;
    commit = read_text_file(reference.string(), kMaxReferenceBytes);
    commit.erase(commit.find_last_not_of(" \r\n\t") + 1);
    const bool is_commit = !commit.empty() && commit.find_first_not_of("0123456789abcdef") == std::string::npos;
    check(is_commit, ExitCode::kInput, "{} does not hold a commit (the cache is damaged)", reference.string());
  }
  const bool there = path_kind((repository / "snapshots" / commit).string()) == PathKind::kDirectory;
  return there ? commit : "";
}

std::string hf_home() {
  if (const std::string home = environment("HF_HOME"); !home.empty()) return home;
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface";
  return environment("HOME") + "/.cache/huggingface";
}

}  // namespace

std::string hf_hub_cache() {
  if (const std::string hub = environment("HF_HUB_CACHE"); !hub.empty()) return hub;
  return hf_home() + "/hub";
}

std::string hf_token_file() {
  if (const std::string path = environment("HF_TOKEN_PATH"); !path.empty()) return path;
  return hf_home() + "/token";
}

bool is_hub_id(const std::string& text) {
  const std::size_t slash = text.find('/');
  return slash != std::string::npos && is_name(text.substr(0, slash), "") && is_name(text.substr(slash + 1), "");
}

ModelLocation resolve_model(const std::string& argument, const std::string& cache) {
  const PathKind kind = path_kind(argument);
  if (kind == PathKind::kDirectory) return {argument, last_component(argument), ""};
  check(kind == PathKind::kNothing, ExitCode::kInput,
        "{} is a file (a model is a directory with config.json and safetensors) give its folder", argument);

  const std::size_t slash = argument.find('/');
  const std::size_t at = argument.find('@');
  const std::string id = argument.substr(0, at);
  const std::string revision = at == std::string::npos ? "main" : argument.substr(at + 1);
  const bool is_id = is_hub_id(id) && is_name(revision, "/");
  check(is_id, ExitCode::kInput, "{} does not exist (and is no Hub id of the form org/name or org/name@revision) check the path",
        argument);
  const fs::path repository = fs::path(cache) / ("models--" + id.substr(0, slash) + "--" + id.substr(slash + 1));
  const std::string commit = find_commit(repository, revision);
  check(!commit.empty(), ExitCode::kInput,
        "{} is neither a directory nor in the local Hugging Face cache {} (nothing is downloaded by this program) fetch it with: "
        "hf download {}{}",
        argument, cache, id, at == std::string::npos ? "" : " --revision " + revision);
  return {(repository / "snapshots" / commit).string(), id, commit};
}

}  // namespace mpiquant
