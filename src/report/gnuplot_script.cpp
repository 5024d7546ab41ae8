#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/gnuplot.h"

namespace lockstep::report {

namespace {

// Colours that gnuplot writes and inline_svg() reads: they stand for what the page decides.
constexpr std::string_view kInk = "#010000";
constexpr std::string_view kGrid = "#020000";
constexpr std::string_view kMarkColor = "#030000";

std::string color_of(int color, bool faint = false) {
  return fmt::format("#{:02x}{}00", 16 + color % kColors, faint ? "01" : "00");
}

int dash_of(int color) { return 1 + color / kColors; }

std::string range(double low, double high) {
  return low < high ? fmt::format("[{}:{}]", low, high) : std::string("[*:*]");
}

std::string data_block(const Series& series, std::size_t index, bool positive) {
  std::string block = fmt::format("$d{} << END\n", index);
  for (const auto& [x, y] : series.points) {
    // An empty line breaks the curve.
    const bool drawn = std::isfinite(x) && std::isfinite(y) && (!positive || y > 0);
    block += drawn ? fmt::format("{} {}\n", x, y) : std::string("\n");
  }
  for (const Box& box : series.boxes) {
    block += fmt::format("{} {} {} {} {} {}\n", (box.left + box.right) / 2,
                         (box.bottom + box.top) / 2, box.left, box.right, box.bottom, box.top);
  }
  return block + "END\n";
}

bool is_empty(const Series& series) {
  return series.boxes.empty() && std::ranges::none_of(series.points, [](const auto& point) {
           return std::isfinite(point.first) && std::isfinite(point.second);
         });
}

std::string plot_element(const Series& series, std::size_t index) {
  const std::string color = color_of(series.color);
  const int dash = dash_of(series.color);
  switch (series.style) {
    case Series::Style::kLine:
      return fmt::format("$d{} using 1:2 with lines lw 2 dt {} lc rgb \"{}\"", index, dash, color);
    case Series::Style::kMarked:
      return fmt::format("$d{} using 1:2 with linespoints lw 2 dt {} pt 7 ps 0.45 lc rgb \"{}\"",
                         index, dash, color);
    case Series::Style::kFaint:
      return fmt::format("$d{} using 1:2 with lines lw 1.2 dt {} lc rgb \"{}\"", index, dash,
                         color_of(series.color, /*faint=*/true));
    case Series::Style::kSteps:
      return fmt::format("$d{} using 1:2 with fsteps lw 2 dt {} lc rgb \"{}\"", index, dash, color);
    case Series::Style::kDotted:
      return fmt::format("$d{} using 1:2 with lines lw 2 dt (4,4) lc rgb \"{}\"", index, kInk);
    case Series::Style::kBoxes:
    case Series::Style::kPaleBoxes:
      break;
  }
  return fmt::format("$d{} using 1:2:3:4:5:6 with boxxyerror fs solid 1 noborder lc rgb \"{}\"",
                     index, color_of(series.color, series.style == Series::Style::kPaleBoxes));
}

}  // namespace

std::string gnuplot_script(const Chart& chart) {
  std::string script = fmt::format(
      "set terminal svg size 440,{} noenhanced font \"Arial,13\" linewidth 1 dashlength 0.7\n"
      "set border 3 linecolor rgb \"{ink}\"\n"
      "set tics nomirror out scale 0.4 textcolor rgb \"{ink}\"\n"
      "set xtics offset 0,0.4\n"
      "set grid ytics noxtics linetype 1 linewidth 1 linecolor rgb \"{grid}\"\n"
      "set xlabel \"{x}\" textcolor rgb \"{ink}\" offset 0,0.9\n"
      // Not beside the numbers, whose width is not known: they would meet.
      "set label \"{y}\" at screen 0.03, graph 0.5 center rotate by 90 textcolor rgb \"{ink}\"\n"
      "set format \"%g\"\nunset key\nset lmargin 10\nset rmargin 2\nset tmargin 1.2\nset bmargin "
      "2.8\n",
      chart.height, fmt::arg("ink", kInk), fmt::arg("grid", kGrid), fmt::arg("x", chart.x_label),
      fmt::arg("y", chart.y_label));
  if (chart.log_y) script += "set logscale y\n";
  script += fmt::format("set xrange {}\nset yrange {}\n", range(chart.low_x, chart.high_x),
                        range(chart.low_y, chart.high_y));
  if (chart.last_whole_x) {
    const double step = std::max(1.0, std::ceil(*chart.last_whole_x / 12));
    script += fmt::format("set xtics 0,{},{}\n", step, *chart.last_whole_x);
  }
  // More numbers than these would cover one another.
  const bool labelled = chart.marks.size() <= 5;
  for (const Mark& mark : chart.marks) {
    if (!std::isfinite(mark.x)) continue;
    script += fmt::format(
        "set arrow from first {0}, graph 0 to first {0}, graph 1 nohead lw 1.5 dt (3,3) lc rgb "
        "\"{1}\"\n",
        mark.x, kMarkColor);
    if (!labelled) continue;
    script += fmt::format(
        "set label \"{}\" at first {}, graph {} {} rotate by 90 offset -1,0 textcolor rgb "
        "\"{}\"\n",
        mark.value, mark.x, chart.marks_below ? "0.04" : "0.97",
        chart.marks_below ? "left" : "right", kInk);
  }
  std::string elements;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    if (is_empty(chart.series[i])) continue;
    script += data_block(chart.series[i], i, chart.log_y);
    elements +=
        fmt::format("{}{}", elements.empty() ? "plot " : ", ", plot_element(chart.series[i], i));
  }
  return script + elements + "\n";
}

}  // namespace lockstep::report
