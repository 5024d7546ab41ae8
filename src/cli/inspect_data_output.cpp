// What lockstep inspect says of a data set.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/inspect_data.h"
#include "lockstep/base/text.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostExamples = 5;
constexpr std::size_t kMostMessages = 10;

std::string of_shape(const DataPart& part) {
  return fmt::format("{}x{}x{}", part.shape[0], part.shape[1], part.shape[2]);
}

std::int64_t largest(const std::array<std::int64_t, kClasses>& classes) {
  return *std::ranges::max_element(classes);
}

std::string bar(std::int64_t count, std::int64_t most, std::size_t columns) {
  // A class that is there has a mark, however rare.
  const double share =
      static_cast<double>(count) / static_cast<double>(std::max<std::int64_t>(most, 1));
  const auto marks = static_cast<std::size_t>(std::lround(share * static_cast<double>(columns)));
  return std::string(count > 0 ? std::max<std::size_t>(marks, 1) : 0, '#');
}

std::string parts_text(const DataFacts& facts) {
  std::string text = "part          images  shape    files\n";
  for (const DataPart& part : facts.parts) {
    text += fmt::format("{:<10}{:>10}  {:<7}  {}\n", part.name,
                        part.count > 0 ? format_count(part.count) : "-",
                        part.count > 0 ? of_shape(part) : "-", part.source);
  }
  return text;
}

// All parts side by side.
std::string classes_text(const std::vector<const DataPart*>& parts) {
  if (parts.empty()) return "";
  const std::size_t columns = parts.size() == 1 ? 50 : 18;
  const std::size_t width = 8 + 10 + 2 + columns;
  std::string title = "\n     ";
  std::string text = "label";
  for (const DataPart* part : parts) {
    title += fmt::format("{:>8}{:{}}", part->name, "", width - 8);
    text += fmt::format("{:>8}{:>10}{:{}}", "images", "share", "", width - 18);
  }
  const auto trim = [](std::string line) {
    return line.erase(line.find_last_not_of(' ') + 1) + "\n";
  };
  text = trim(title) + trim(text);
  for (std::size_t label = 0; label < kClasses; ++label) {
    std::string line = fmt::format("{:>5}", label);
    for (const DataPart* part : parts) {
      const std::int64_t count = (*part->classes)[label];
      line += fmt::format("{:>8}{:>8.2f} %  {:<{}}", format_count(count),
                          100 * static_cast<double>(count) / static_cast<double>(part->count),
                          bar(count, largest(*part->classes), columns), columns);
    }
    text += trim(line);
  }
  return text;
}

std::string pixels_text(const std::vector<const DataPart*>& parts) {
  if (parts.empty()) return "";
  std::string text =
      "\npixels       mean  deviation  smallest  largest     zeros  images of one value\n";
  for (const DataPart* part : parts) {
    const PixelStatistics& p = part->pixels;
    text += fmt::format("{:<9}{:>8.2f}{:>11.2f}{:>10}{:>9}{:>8.2f} %{:>21}\n", part->name, p.mean,
                        p.standard_deviation, p.smallest, p.largest, 100 * p.share_of_zeros,
                        format_count(static_cast<std::int64_t>(p.plain_images.size())));
  }
  return text;
}

std::int64_t otherwise_labelled(const std::vector<SameImages>& same) {
  return std::ranges::count_if(same, &SameImages::otherwise_labelled);
}

// "training image 4"; of a data set without parts "image 4".
std::string image_name(const std::string& part, std::int64_t image) {
  return part == "images" ? fmt::format("image {}", image)
                          : fmt::format("{} image {}", part, image);
}

std::string examples(const std::vector<SameImages>& same, const std::string& part,
                     const std::string& with) {
  std::string text;
  for (std::size_t i = 0; i < std::min(kMostExamples, same.size()); ++i) {
    const SameImages& s = same[i];
    text += fmt::format("  {} is {}", image_name(part, s.image), image_name(with, s.of));
    if (s.otherwise_labelled()) {
      text += fmt::format(", labelled {} and {}", s.label ? std::to_string(*s.label) : "not",
                          s.label_of ? std::to_string(*s.label_of) : "not");
    }
    text += "\n";
  }
  if (same.size() > kMostExamples) {
    text += fmt::format("  and {} more\n",
                        format_count(static_cast<std::int64_t>(same.size() - kMostExamples)));
  }
  return text;
}

std::string same_line(const std::string& what, const std::vector<SameImages>& same) {
  std::string text =
      fmt::format("{}: {}", what, format_count(static_cast<std::int64_t>(same.size())));
  if (const std::int64_t other = otherwise_labelled(same); other > 0) {
    text += fmt::format(", {} of them with another label", format_count(other));
  }
  return text + "\n";
}

std::string duplicates_text(const DataFacts& facts) {
  std::string text;
  for (const DataPart& part : facts.parts) {
    if (part.count == 0) continue;
    text += same_line((part.name == "images" ? part.name : part.name + " images") +
                          " that repeat an earlier one",
                      part.repeated) +
            examples(part.repeated, part.name, part.name);
  }
  for (const Overlap& overlap : facts.overlaps) {
    text += same_line(fmt::format("{} images (of {}) that are among those of {}", overlap.part,
                                  format_count(overlap.count), overlap.with),
                      overlap.same) +
            examples(overlap.same, overlap.part, overlap.with);
  }
  if (!text.empty()) text.insert(0, 1, '\n');
  return text;
}

std::string damage_text(const DataFacts& facts) {
  std::string text;
  for (const DataPart& part : facts.parts) {
    if (!part.problem.empty()) {
      text += fmt::format("{}: cannot be used: {}\n", part.name, part.problem);
    }
    if (part.damaged.empty()) continue;
    text += fmt::format("{}: {} damaged, left out above:\n", part.name,
                        format_count(static_cast<std::int64_t>(part.damaged.size())));
    for (std::size_t i = 0; i < std::min(kMostMessages, part.damaged.size()); ++i) {
      text += "  " + part.damaged[i] + "\n";
    }
    if (part.damaged.size() > kMostMessages) {
      text +=
          fmt::format("  and {} more (--json lists all)\n",
                      format_count(static_cast<std::int64_t>(part.damaged.size() - kMostMessages)));
    }
  }
  if (text.empty()) text = "No entry is missing or damaged.\n";
  return text.insert(0, 1, '\n');
}

Json same_json(const std::vector<SameImages>& same) {
  Json list = Json::array();
  for (const SameImages& s : same) {
    Json entry{{"image", s.image}, {"of", s.of}};
    if (s.label) entry["label"] = *s.label;
    if (s.label_of) entry["label_of"] = *s.label_of;
    list.push_back(std::move(entry));
  }
  return list;
}

Json part_json(const DataPart& part) {
  Json json{{"part", part.name}, {"source", part.source}, {"damaged", part.damaged}};
  if (!part.problem.empty()) json["problem"] = part.problem;
  if (part.count == 0) return json;
  json["images"] = part.count;
  json["shape"] = part.shape;
  json["sha256"] = part.sha256;
  if (part.classes) json["class_counts"] = *part.classes;
  Json plain = Json::array();
  for (const std::uint32_t image : part.pixels.plain_images)
    plain.push_back(std::int64_t{image} + 1);
  json["pixels"] = {{"mean", part.pixels.mean},
                    {"standard_deviation", part.pixels.standard_deviation},
                    {"smallest", part.pixels.smallest},
                    {"largest", part.pixels.largest},
                    {"zeros", part.pixels.share_of_zeros},
                    {"images_of_one_value", std::move(plain)}};
  json["repeated"] = same_json(part.repeated);
  return json;
}

}  // namespace

std::string data_text(const DataFacts& facts) {
  std::vector<const DataPart*> read;
  std::vector<const DataPart*> labelled;
  for (const DataPart& part : facts.parts) {
    if (part.count > 0) read.push_back(&part);
    if (part.classes) labelled.push_back(&part);
  }
  return parts_text(facts) + classes_text(labelled) + pixels_text(read) + duplicates_text(facts) +
         damage_text(facts);
}

std::string data_json(const DataFacts& facts) {
  Json parts = Json::array();
  for (const DataPart& part : facts.parts) parts.push_back(part_json(part));
  Json overlaps = Json::array();
  for (const Overlap& overlap : facts.overlaps) {
    overlaps.push_back({{"part", overlap.part},
                        {"with", overlap.with},
                        {"images", overlap.count},
                        {"same", same_json(overlap.same)}});
  }
  const Json all{{"kind", "data"},
                 {"path", facts.path.string()},
                 {"parts", std::move(parts)},
                 {"overlaps", std::move(overlaps)}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep
