#pragma once

#include <string>

namespace mpiquant {

struct ModelLocation {
  std::string directory;  // in Hugging Face layout
  std::string name;       // "org/name", or the last component of the directory's path
  std::string revision;   // commit in the local cache; empty for a directory
};

// The folder of the local Hugging Face cache: $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or
// ~/.cache/huggingface/hub.
std::string hf_hub_cache();

// Finds a model: an existing directory, else "org/name" or "org/name@revision" in the local cache (revision: branch, tag or
// commit; "main" if not given). Neither is an input error that says how to fetch the model. Layout:
// <cache>/models--org--name/refs/<revision> holds the commit, snapshots/<commit>/ the files.
ModelLocation resolve_model(const std::string& argument, const std::string& cache = hf_hub_cache());

// Is it of the form org/name?
bool is_hub_id(const std::string& text);

// Where `hf auth login` leaves the token: $HF_TOKEN_PATH, $HF_HOME/token, $XDG_CACHE_HOME/huggingface/token or
// ~/.cache/huggingface/token.
std::string hf_token_file();

}  // namespace mpiquant
