#include "src/run/record.h"

#include <algorithm>
#include <tuple>

#include "src/comm/collectives.h"

namespace mpiquant {

Json to_json(const TensorRecord& record) {
  return {{"module", record.module},
          {"codec", record.codec},
          {"error", record.error},
          {"damp_percent", record.damp_percent},
          {"damp_retries", record.damp_retries},
          {"dead_columns", record.dead_columns},
          {"scale_underflows", record.scale_underflows},
          {"scale_overflows", record.scale_overflows},
          {"outputs", record.outputs}};
}

TensorRecord record_from(const Json& json) {
  TensorRecord record;
  record.module = json.at("module");
  record.codec = json.at("codec");
  record.error = json.at("error");
  record.damp_percent = json.at("damp_percent");
  record.damp_retries = json.at("damp_retries");
  record.dead_columns = json.at("dead_columns");
  record.scale_underflows = json.at("scale_underflows");
  record.scale_overflows = json.at("scale_overflows");
  record.outputs = json.at("outputs").get<std::vector<std::size_t>>();
  return record;
}

std::vector<TensorRecord> gather_records(Communicator& comm, const std::vector<TensorRecord>& mine) {
  Json rows = Json::array();
  for (const TensorRecord& record : mine) rows.push_back(to_json(record));
  std::vector<TensorRecord> all;
  for (const std::string& text : all_gather_strings(comm, rows.dump())) {
    const Json of_rank = Json::parse(text);
    for (const Json& row : of_rank) all.push_back(record_from(row));
  }
  std::sort(all.begin(), all.end(), [](const TensorRecord& a, const TensorRecord& b) {
    return std::tie(a.module, a.codec, a.outputs) < std::tie(b.module, b.codec, b.outputs);
  });
  return all;
}

}  // namespace mpiquant
