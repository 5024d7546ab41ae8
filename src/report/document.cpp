// The document around the sections, and its style sheet: one column on a phone, room to breathe on
// a desk, dark where the reader's system is, and paper.
#include <fmt/format.h>

#include <cmath>

#include "report/html.h"
#include "report/page.h"

namespace lockstep::report {

std::string document(const std::string& title, const std::string& body, const std::string& footer,
                     double refresh_seconds) {
  std::string refresh;
  if (refresh_seconds > 0) {
    refresh = fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">\n",
                          static_cast<long>(std::ceil(refresh_seconds)));
  }
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // Not even an icon is asked for.
      "<link rel=\"icon\" href=\"data:,\">\n{}<title>{} · lockstep</title>\n<style>{}</style>\n"
      "</head>\n<body>\n<main>\n{}</main>\n<footer>{}</footer>\n</body>\n</html>\n",
      refresh, escape(title), style_sheet(), body, escape(footer));
}

}  // namespace lockstep::report
