// Charts drawn by gnuplot, as SVG that fits into a page. No text of a run reaches gnuplot: what it
// is given are numbers and the words of this program.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lockstep::report {

struct Box {
  double left = 0, right = 0, bottom = 0, top = 0;
};

/// One curve, or the boxes of one kind.
struct Series {
  enum class Style {
    kLine,
    kMarked,  ///< a line with a point at each value
    kFaint,   ///< a thin, pale line: what lies behind the others
    kSteps,   ///< what holds from the point before to this one
    kDotted,  ///< a thin line of no colour: a reference
    kBoxes,
    kPaleBoxes,
  };
  std::string label;  ///< for the legend, which is not gnuplot's
  Style style = Style::kLine;
  int color = 0;  ///< of the page's palette, from 0; further ones begin anew, with another dash
  std::vector<std::pair<double, double>> points;  ///< what is not finite breaks the line
  std::vector<Box> boxes;
};

/// A place on the horizontal axis that is pointed out.
struct Mark {
  double x = 0;
  double value = 0;  ///< written beside it
};

struct Chart {
  std::string id;           ///< unique in the page: letters, digits and dashes
  std::string title;        ///< what the text of the page and a screen reader call it
  std::string description;  ///< what a screen reader says of it
  std::string x_label;      ///< words of this program alone, ASCII letters
  std::string y_label;
  bool log_y = false;
  /// The horizontal axis has whole numbers, from 0 to this one.
  std::optional<double> last_whole_x = {};
  double low_x = 0, high_x = 0;  ///< equal: as the data say
  double low_y = 0, high_y = 0;
  std::vector<Mark> marks;
  bool marks_below = false;  ///< the values stand at the foot of the picture
  std::vector<Series> series;
  double height = 280;  ///< of a width of 440
};

/// Number of colours in the palette.
inline constexpr int kColors = 7;

/// What gnuplot may take for one chart; it takes a twentieth of a second.
inline constexpr double kMostSeconds = 10;

/// What gnuplot reads on standard input to draw the chart.
std::string gnuplot_script(const Chart& chart);

/// Runs `program` with the script and returns what it writes. Throws Error{kInputMissing} when
/// there is no such program and Error{kUnavailable}, with what it said, when it fails, writes
/// nothing or takes longer than `seconds`; it has ended then. `progress` is called every 100 ms.
std::string run_gnuplot(const std::string& program, std::string_view script,
                        double seconds = kMostSeconds, const std::function<void()>& progress = {});

/// The drawing as an <svg> element for a page: no identifiers but its title's, none of gnuplot's
/// own words, colours by the page's palette (classes' custom properties), so that it follows light
/// and dark. Only the elements and attributes that gnuplot is known to write come through. Throws
/// Error{kUnavailable} for what is no SVG.
std::string inline_svg(std::string_view svg, const Chart& chart);

}  // namespace lockstep::report
