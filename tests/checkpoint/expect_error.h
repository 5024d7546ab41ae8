// Expects a statement to throw lockstep::Error with a code and a message that holds a text.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lockstep/base/error.h"

namespace lockstep::test {

template <typename Action>
void expect_error(ExitCode code, const std::string& text, Action&& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one that says: " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(text));
  }
}

}  // namespace lockstep::test
