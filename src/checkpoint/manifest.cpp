#include "lockstep/checkpoint/manifest.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/checkpoint/json.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr int kSchema = 1;
constexpr std::size_t kDigits = 64;

bool is_digest(std::string_view text) {
  return text.size() == kDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool by_name(const ManifestEntry& a, const ManifestEntry& b) { return a.name < b.name; }

ManifestEntry read_entry(const json& value, std::string_view origin) {
  if (!value.is_object() || value.size() != 3 || !value.contains("name") ||
      !value.contains("sha256") || !value.contains("size")) {
    fail(ExitCode::kBadData, "{}: expected exactly name, sha256 and size of each file", origin);
  }
  const json& name = value["name"];
  if (!name.is_string() || !is_plain_file_name(name.get_ref<const std::string&>())) {
    fail(ExitCode::kBadData, "{}: {} is not a plain file name", origin,
         name.is_string() ? printable(name.get_ref<const std::string&>()) : "(not text)");
  }
  const json& sha256 = value["sha256"];
  if (!sha256.is_string() || !is_digest(sha256.get_ref<const std::string&>())) {
    fail(ExitCode::kBadData, "{}: the sha256 of {} is not 64 lower-case hexadecimal digits", origin,
         name.get_ref<const std::string&>());
  }
  const json& size = value["size"];
  if (!size.is_number_unsigned()) {
    fail(ExitCode::kBadData, "{}: the size of {} is not a whole number >= 0", origin,
         name.get_ref<const std::string&>());
  }
  return {name.get<std::string>(), size.get<std::uint64_t>(), sha256.get<std::string>()};
}

}  // namespace

bool is_plain_file_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= 255 && name.front() != '.' &&
         name.find_first_not_of(kAllowed) == std::string_view::npos && name != kManifestName;
}

std::string encode_manifest(Manifest manifest) {
  std::sort(manifest.files.begin(), manifest.files.end(), by_name);
  json files = json::array();
  for (const ManifestEntry& file : manifest.files) {
    LOCKSTEP_CHECK(is_plain_file_name(file.name), "{} is not a plain file name",
                   printable(file.name));
    LOCKSTEP_CHECK(files.empty() || files.back()["name"] != file.name, "file name {} is taken",
                   file.name);
    files.push_back({{"name", file.name}, {"sha256", file.sha256}, {"size", file.size}});
  }
  const json root = {
      {"files", std::move(files)}, {"global_step", manifest.global_step}, {"schema", kSchema}};
  std::string text = root.dump() + '\n';
  text += sha256_hex(text) + '\n';
  return text;
}

Manifest parse_manifest(std::string_view text, std::string_view origin) {
  if (text.size() > kManifestLimit) {
    fail(ExitCode::kBadData, "{}: has {} bytes; at most {} are allowed", origin, text.size(),
         kManifestLimit);
  }
  constexpr std::size_t kLastLine = kDigits + 1;
  if (text.size() <= kLastLine || text.back() != '\n' ||
      text[text.size() - kLastLine - 1] != '\n') {
    fail(ExitCode::kBadData, "{}: does not end with a line of 64 hexadecimal digits", origin);
  }
  const std::string_view body = text.substr(0, text.size() - kLastLine);
  const std::string_view digest = text.substr(body.size(), kDigits);
  if (const std::string found = sha256_hex(body); digest != found) {
    fail(ExitCode::kBadData, "{}: its SHA-256 is {}, but its last line says {}", origin, found,
         printable(digest));
  }

  const json root = parse_strict_json(body, origin);
  if (!root.is_object() || !root.contains("schema") || root["schema"] != kSchema) {
    fail(ExitCode::kBadData, "{}: expected an object of schema {}", origin, kSchema);
  }
  if (root.size() != 3 || !root.contains("files") || !root.contains("global_step")) {
    fail(ExitCode::kBadData, "{}: expected exactly files, global_step and schema", origin);
  }
  const json& step = root["global_step"];
  if (!step.is_number_unsigned() ||
      step.get<std::uint64_t>() >
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail(ExitCode::kBadData, "{}: global_step is not a whole number from 0 to 2^63 - 1", origin);
  }
  if (!root["files"].is_array()) fail(ExitCode::kBadData, "{}: files is not an array", origin);

  Manifest manifest{step.get<std::int64_t>(), {}};
  for (const json& value : root["files"]) manifest.files.push_back(read_entry(value, origin));
  const auto out_of_order = std::adjacent_find(
      manifest.files.begin(), manifest.files.end(),
      [](const ManifestEntry& a, const ManifestEntry& b) { return !by_name(a, b); });
  if (out_of_order != manifest.files.end()) {
    fail(ExitCode::kBadData, "{}: file {} is listed twice or out of order", origin,
         out_of_order->name);
  }
  if (encode_manifest(manifest) != text) {
    fail(ExitCode::kBadData, "{}: is not in its canonical form", origin);
  }
  return manifest;
}

}  // namespace lockstep
