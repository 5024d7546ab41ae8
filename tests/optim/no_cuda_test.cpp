#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lockstep/base/error.h"
#include "lockstep/optim/clipping.h"
#include "lockstep/optim/device_inspection.h"
#include "lockstep/optim/optimizer.h"

namespace lockstep {
namespace {

template <typename Function>
void expect_refused(Function&& function) {
  try {
    function();
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("without CUDA"));
  }
}

TEST(NoCudaTest, DeviceFunctionsSayWhatIsMissing) {
  float value = 0;
  expect_refused([] { make_device_optimizer({}, 1); });
  expect_refused([&] { all_finite_on_device(&value, 1); });
  expect_refused([&] { l2_norm_on_device(&value, 1); });
  expect_refused([&] { clip_by_norm_on_device(&value, 1, 1.0); });
  expect_refused([] { DeviceInspection(1, nullptr); });
  expect_refused([&] { update_average_on_device(&value, &value, 1, 0.9); });
}

}  // namespace
}  // namespace lockstep
