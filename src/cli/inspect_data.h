// What lockstep inspect says of a data set.
#pragma once

#include <string>

#include "lockstep/data/inspection.h"

namespace lockstep {

/// For people, lines of at most 100 columns where names fit.
std::string data_text(const DataFacts& facts);
/// One JSON object.
std::string data_json(const DataFacts& facts);

}  // namespace lockstep
