// For tests on a GPU: skipped where there is none.
#pragma once

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "lockstep/model/compute_device.h"

namespace lockstep {

class DeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU on this machine";
    gpu_ = prepared();
  }

  at::Device gpu_{at::kCPU};

 private:
  // Once a process: LibTorch takes its numbers of threads only once.
  static at::Device prepared() {
    static const at::Device gpu = prepare_compute_device({}, /*local_size=*/1, /*gpu=*/0).device;
    return gpu;
  }
};

}  // namespace lockstep
