// From a file of gnuplot's to an element of the page.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <optional>

#include "lockstep/base/error.h"
#include "report/gnuplot.h"
#include "report/html.h"

namespace lockstep::report {

namespace {

constexpr std::array<std::string_view, 7> kElements{"g",       "path",     "use", "rect",
                                                    "polygon", "polyline", "text"};
// With all that is in them.
constexpr std::array<std::string_view, 3> kLeftOut{"title", "desc", "defs"};
constexpr std::array<std::string_view, 16> kAttributes{"d",
                                                       "transform",
                                                       "points",
                                                       "x",
                                                       "y",
                                                       "width",
                                                       "height",
                                                       "stroke-width",
                                                       "stroke-linecap",
                                                       "stroke-linejoin",
                                                       "stroke-dasharray",
                                                       "fill-opacity",
                                                       "text-anchor",
                                                       "shape-rendering",
                                                       "class",
                                                       "font-size"};

template <typename Names>
bool contains(const Names& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

[[noreturn]] void refuse(const Chart& chart, std::string_view reason) {
  fail(ExitCode::kUnavailable, "gnuplot: {}: {}", chart.id, reason);
}

// The page's colour that gnuplot's stands for.
std::optional<std::string> page_color(std::string_view value) {
  int red = 0, green = 0, blue = 0;
  const std::string text(value);
  if (std::sscanf(text.c_str(), "rgb( %d, %d, %d)", &red, &green, &blue) != 3 &&
      std::sscanf(text.c_str(), "rgb(%d,%d,%d)", &red, &green, &blue) != 3) {
    return std::nullopt;
  }
  if (red == 1) return "var(--ink-2)";
  if (red == 2) return "var(--line)";
  if (red == 3) return "var(--mark)";
  if (red < 16 || red >= 16 + kColors) return std::nullopt;
  return fmt::format("var(--c{}){}", red - 16, green == 1 ? ";opacity:.5" : "");
}

struct Tag {
  std::string name;
  bool closes = false;  // </name>
  bool empty = false;   // <name/>
  std::map<std::string, std::string> attributes;
};

// `text` begins behind the '<'; what is read is taken from it.
Tag read_tag(std::string_view& text, const Chart& chart) {
  const auto skip = [&](std::string_view characters) {
    text.remove_prefix(std::min(text.find_first_not_of(characters), text.size()));
  };
  const auto word = [&] {
    const std::size_t end = std::min(text.find_first_of(" \t\r\n=/>"), text.size());
    std::string result(text.substr(0, end));
    text.remove_prefix(end);
    return result;
  };
  Tag tag;
  if (text.starts_with('/')) {
    tag.closes = true;
    text.remove_prefix(1);
  }
  tag.name = word();
  while (true) {
    skip(" \t\r\n");
    if (text.empty()) refuse(chart, "a tag without an end");
    if (text.starts_with("/>") || text.starts_with("?>")) {
      tag.empty = true;
      text.remove_prefix(2);
      return tag;
    }
    if (text.starts_with('>')) {
      text.remove_prefix(1);
      return tag;
    }
    const std::string name = word();
    skip(" \t\r\n=");
    const char quote = text.empty() ? '\0' : text[0];
    const std::size_t end = text.find(quote, 1);
    if (name.empty() || (quote != '\'' && quote != '"') || end == std::string_view::npos) {
      refuse(chart, "an attribute without a value");
    }
    tag.attributes[name] = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
  }
}

std::string attributes_text(const Tag& tag) {
  std::string text, style;
  for (const auto& [name, value] : tag.attributes) {
    const bool paint = name == "stroke" || name == "fill" || name == "color";
    if (const auto color = paint ? page_color(value) : std::nullopt) {
      // The only points are filled circles.
      style += fmt::format("{}:{};", tag.name == "use" ? "fill" : name, *color);
    } else if ((name == "stroke" || name == "fill") &&
               (value == "none" || value == "currentColor")) {
      text += fmt::format(" {}=\"{}\"", name, value);
    } else if (contains(kAttributes, name)) {
      text += fmt::format(" {}=\"{}\"", name, escape(value));
    }
  }
  return style.empty() ? text : fmt::format("{} style=\"{}\"", text, style);
}

}  // namespace

std::string inline_svg(std::string_view svg, const Chart& chart) {
  std::string result = fmt::format(
      "<svg viewBox=\"0 0 440 {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">"
      "<title id=\"{id}-title\">{}</title><desc id=\"{id}-desc\">{}</desc>",
      chart.height, escape(chart.title), escape(chart.description), fmt::arg("id", chart.id));
  std::string left_out;  // the element whose content is skipped
  bool inside = false, complete = false;
  while (!svg.empty()) {
    const std::size_t open = std::min(svg.find('<'), svg.size());
    const std::string_view text = svg.substr(0, open);
    const bool blank = text.find_first_not_of(" \t\r\n") == std::string_view::npos;
    // Text is XML already: numbers and words of gnuplot_script's.
    if (inside && left_out.empty() && !blank) result += escape(unescape_xml(text));
    svg.remove_prefix(std::min(open + 1, svg.size()));
    if (svg.empty()) break;
    if (svg.starts_with('!')) {  // a document type or a comment
      if (inside && !svg.starts_with("!--")) refuse(chart, "a declaration in its drawing");
      const std::string_view end = inside ? "-->" : ">";
      svg.remove_prefix(std::min(svg.find(end), svg.size() - end.size()) + end.size());
      continue;
    }
    const Tag tag = read_tag(svg, chart);
    if (tag.name == "svg") {
      inside = !tag.closes;
      complete = tag.closes;
    } else if (!left_out.empty()) {
      if (tag.closes && tag.name == left_out) left_out.clear();
    } else if (contains(kLeftOut, tag.name)) {
      if (!tag.closes && !tag.empty) left_out = tag.name;
    } else if (inside && contains(kElements, tag.name)) {
      if (tag.closes) {
        result += fmt::format("</{}>", tag.name == "use" ? "circle" : tag.name);
      } else {
        const bool point = tag.name == "use";
        result += fmt::format("<{}{}{}{}>", point ? "circle" : tag.name, attributes_text(tag),
                              point ? " r=\"1\" stroke=\"none\"" : "", tag.empty ? "/" : "");
      }
    } else if (inside) {
      refuse(chart, fmt::format("<{}> in its drawing", tag.name));
    }
  }
  if (!complete) refuse(chart, "its drawing is no whole SVG");
  return result + "</svg>";
}

}  // namespace lockstep::report
