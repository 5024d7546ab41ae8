// From what is known of a data set to a page.
#include "lockstep/report/data_page.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/error.h"
#include "lockstep/base/text.h"
#include "report/examples.h"
#include "report/html.h"
#include "report/page.h"

namespace lockstep {

namespace report {

namespace {

using Parts = std::vector<const DataPart*>;

constexpr std::size_t kMostExamples = 10;    // of a class
constexpr std::size_t kMostDuplicates = 10;  // of a kind that are named
constexpr std::size_t kMostMessages = 10;    // about damage
constexpr const char* kFooter =
    "Every number is computed of the files that are named here; the exact value is in the "
    "element's attribute. Images are counted from 1, without those that were left out.";

std::string title_of(const DataFacts& facts) {
  std::error_code ignored;
  const auto full = std::filesystem::weakly_canonical(facts.path, ignored);
  const auto last = full.has_filename() ? full.filename() : full.parent_path().filename();
  return last.empty() ? facts.path.string() : last.string();
}

std::string capitalised(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

std::int64_t length(const auto& container) { return std::ssize(container); }

std::int64_t otherwise_labelled(const std::vector<SameImages>& same) {
  return std::ranges::count_if(same, &SameImages::otherwise_labelled);
}

std::string lead(const Parts& parts) {
  std::string text;
  for (const DataPart* part : parts) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count(part->count),
                        part->name == "images" ? "images" : escape(part->name) + " images");
  }
  const auto& [channels, height, width] = parts[0]->shape;
  return text + fmt::format(" of {} × {} pixels in {} channel{}.", height, width, channels,
                            channels == 1 ? "" : "s");
}

std::string class_range(const DataPart& part) {
  if (!part.classes) return "without labels";
  const auto [least, most] = std::ranges::minmax(*part.classes);
  return fmt::format("{} to {} of each class", count(least), count(most));
}

std::string tiles(const DataFacts& facts, const Parts& parts) {
  std::string text;
  for (const DataPart* part : parts) {
    const std::string name =
        part->name == "images" ? "Images" : capitalised(part->name) + " images";
    text += tile(part->name + ".images", name, count(part->count), class_range(*part));
  }
  const DataPart& first = *parts[0];
  text += tile(
      "pixels.mean", "Mean pixel value", number(first.pixels.mean),
      fmt::format("of 0 to 255, standard deviation {}", number(first.pixels.standard_deviation)));
  std::int64_t damaged = 0, repeated = 0;
  for (const DataPart& part : facts.parts) damaged += length(part.damaged);
  for (const DataPart* part : parts) repeated += length(part->repeated);
  text += tile("repeated", "Repeated images", count(repeated), "as another one of their part");
  for (const Overlap& overlap : facts.overlaps) {
    text += tile(overlap.part + ".same", fmt::format("In {} and {}", overlap.part, overlap.with),
                 count(length(overlap.same)),
                 fmt::format("of {} {} images", count(overlap.count), overlap.part));
  }
  text += tile("damaged", "Damaged entries", count(damaged),
               damaged == 0 ? "no entry was left out" : "left out of all other figures");
  return "<dl class=\"tiles\">\n" + text + "</dl>\n";
}

std::string head(const DataFacts& facts, const Parts& parts) {
  const bool whole = facts.code() == ExitCode::kDone;
  std::string sources;
  for (const DataPart* part : parts) {
    sources += fmt::format("{}{}", sources.empty() ? "" : "; ", escape(part->source));
  }
  return fmt::format(
      "<header><p class=\"eyebrow\">data set <span class=\"state {}\">{}</span></p>\n<h1>{}</h1>\n"
      "<p class=\"facts\">{}</p>\n<p class=\"lead\">{}</p>\n{}</header>\n",
      whole ? "done" : "stopped", whole ? "nothing is missing or damaged" : "damaged",
      escape(title_of(facts)), sources, lead(parts), tiles(facts, parts));
}

// One box a part.
std::vector<std::string> damage(const DataFacts& facts) {
  std::vector<std::string> remarks;
  for (const DataPart& part : facts.parts) {
    if (!part.problem.empty()) {
      remarks.push_back(fmt::format("{}: cannot be used: {}", part.name, part.problem));
    }
    if (part.damaged.empty()) continue;
    std::string text = fmt::format("{}: {} damaged, left out of all that follows:", part.name,
                                   format_count(length(part.damaged)));
    for (std::size_t i = 0; i < std::min(kMostMessages, part.damaged.size()); ++i) {
      text += "\n" + part.damaged[i];
    }
    if (part.damaged.size() > kMostMessages) text += "\n... (lockstep inspect --json lists all)";
    remarks.push_back(std::move(text));
  }
  return remarks;
}

std::string label_section(const Parts& parts, Figures& figures) {
  std::vector<SplitFacts> splits;
  for (const DataPart* part : parts) {
    if (!part->classes) continue;
    splits.push_back({.name = part->name,
                      .samples = part->count,
                      .class_counts = {part->classes->begin(), part->classes->end()}});
  }
  if (splits.empty()) return "";
  return section("frequencies", "Class frequencies", class_figure(splits, figures));
}

std::string pixel_section(const Parts& parts, Figures& figures) {
  std::vector<PixelCounts> counts;
  std::vector<std::string> head{"Pixels"};
  std::vector<std::vector<Cell>> rows{{{"mean"}},     {{"standard deviation"}},
                                      {{"smallest"}}, {{"largest"}},
                                      {{"zeros"}},    {{"images of one value"}}};
  for (const DataPart* part : parts) {
    const PixelStatistics& pixels = part->pixels;
    counts.push_back({.name = part->name, .histogram = pixels.histogram});
    head.push_back(escape(part->name));
    const std::string column[]{number(pixels.mean),
                               number(pixels.standard_deviation),
                               count(pixels.smallest),
                               count(pixels.largest),
                               percent(pixels.share_of_zeros),
                               count(length(pixels.plain_images))};
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].push_back({column[i]});
  }
  return section("pixels", "Pixel values",
                 "<p>Of all pixels of all images, from 0 to 255. The scale of the chart is "
                 "logarithmic, so that rare values show.</p>\n<div class=\"beside\">" +
                     figures.draw(pixel_chart(counts)) + table("", head, rows, "numbers") +
                     "</div>\n");
}

std::string augmentation_text(const AugmentationOptions& options) {
  return fmt::format(
      "rotated by up to {} degrees, zoomed by up to {} %, shifted by up to {} % of the width and "
      "{} % of the height",
      number(options.rotation), number(100 * options.zoom), number(100 * options.shift_x),
      number(100 * options.shift_y));
}

std::string example_section(const DataPart& part, const DataPageOptions& options) {
  if (!drawable(part.images)) {
    return section("examples", "Images of each class",
                   fmt::format("<p class=\"note\">Images of {} channels cannot be shown.</p>\n",
                               part.images.channels));
  }
  const std::string name = part.name == "images" ? "Stored" : capitalised(part.name);
  const bool distorted = options.augmentation.enabled();
  std::string content = fmt::format(
      "<p>Up to {} of each class, spread evenly over the {}. {}</p>\n", kMostExamples,
      part.name == "images" ? "images" : escape(part.name) + " images",
      distorted ? fmt::format(
                      "Beside or below them the same images as the first epoch of a training with "
                      "seed {} sees them: {}.",
                      options.seed, augmentation_text(options.augmentation))
                : std::string("Training would not distort them: augmentation is off."));
  content += fmt::format("<div class=\"examples{}\">\n", distorted ? " pairs-of-rows" : "");
  for (const Examples& examples : choose_examples(part.images, kMostExamples)) {
    content += fmt::format(
        "<div class=\"class\"><h3>{} <span class=\"quiet\">{}</span></h3>{}{}</div>\n",
        examples.label ? std::to_string(*examples.label) : "all", count(examples.count) + " images",
        picture_row(stored_pictures(part.images, examples.images), examples, name),
        distorted
            ? picture_row(distorted_pictures(part.images, examples.images, options.augmentation,
                                             options.seed),
                          examples,
                          part.name == "images" ? "Distorted" : "Distorted " + escape(part.name))
            : "");
  }
  return section("examples", part.classes ? "Images of each class" : "Images",
                 content + "</div>\n");
}

// "training image 4"; of a data set without parts "image 4".
std::string image_name(const std::string& part, std::int64_t image) {
  return part == "images" ? fmt::format("image {}", image)
                          : fmt::format("{} image {}", escape(part), image);
}

std::string label_text(const std::optional<int>& label) {
  return label ? std::to_string(*label) : "none";
}

std::string duplicate_list(const std::vector<SameImages>& same, const std::string& part,
                           const std::string& with) {
  std::string list;
  for (std::size_t i = 0; i < std::min(kMostDuplicates, same.size()); ++i) {
    list += fmt::format("<li>{} is {}{}</li>\n", image_name(part, same[i].image),
                        image_name(with, same[i].of),
                        same[i].otherwise_labelled()
                            ? fmt::format(", with another label: {} and {}",
                                          label_text(same[i].label), label_text(same[i].label_of))
                            : "");
  }
  if (same.size() > kMostDuplicates) {
    list += fmt::format("<li>and {} more</li>\n",
                        format_count(length(same) - std::int64_t{kMostDuplicates}));
  }
  return list;
}

std::string duplicate_section(const DataFacts& facts, const Parts& parts) {
  std::vector<std::vector<Cell>> rows;
  std::string list;
  const auto add = [&](const std::string& what, std::int64_t of,
                       const std::vector<SameImages>& same, const std::string& part,
                       const std::string& with) {
    rows.push_back({{what}, {count(of)}, {count(length(same))}, {count(otherwise_labelled(same))}});
    list += duplicate_list(same, part, with);
  };
  for (const DataPart* part : parts) {
    add(escape(part->name) + ", as an earlier one", part->count, part->repeated, part->name,
        part->name);
  }
  for (const Overlap& overlap : facts.overlaps) {
    add(fmt::format("{}, as one of {}", escape(overlap.part), escape(overlap.with)), overlap.count,
        overlap.same, overlap.part, overlap.with);
  }
  if (!list.empty()) list = "<ol class=\"decisions\">\n" + list + "</ol>\n";
  return section("duplicates", "Images that are there twice",
                 "<p>Images whose pixels are all the same as another one's, and those of them with "
                 "another label. Validation images are those that a training with the settings "
                 "given would hold out.</p>\n" +
                     table("", {"Images of", "All", "Same", "Other label"}, rows, "numbers") +
                     list);
}

std::string file_section(const Parts& parts) {
  std::string list = "<dl class=\"pairs wide\">\n";
  for (const DataPart* part : parts) {
    list += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(part->name),
                        escape(part->source));
    list += fmt::format("<div><dt>its SHA-256</dt><dd><code>{}</code></dd></div>\n", part->sha256);
  }
  return section("files", "Files", list + "</dl>\n");
}

DataPage page_of(const DataFacts& facts, const DataPageOptions& options) {
  Parts parts;
  for (const DataPart& part : facts.parts) {
    if (part.count > 0) parts.push_back(&part);
  }
  LOCKSTEP_CHECK(!parts.empty(), "{}: nothing to show", facts.path.string());
  Figures figures(options.gnuplot, options.progress);
  const std::string sections = label_section(parts, figures) + pixel_section(parts, figures) +
                               example_section(*parts[0], options) +
                               duplicate_section(facts, parts) + file_section(parts);
  DataPage page;
  if (!figures.problem().empty()) page.warnings.push_back(figures.remark());
  std::vector<std::string> remarks = damage(facts);
  remarks.insert(remarks.end(), page.warnings.begin(), page.warnings.end());
  page.html =
      document(title_of(facts), head(facts, parts) + remark_boxes(remarks) + sections, kFooter);
  return page;
}

}  // namespace

}  // namespace report

DataPage make_data_page(const DataFacts& facts, const DataPageOptions& options) {
  return report::page_of(facts, options);
}

}  // namespace lockstep
