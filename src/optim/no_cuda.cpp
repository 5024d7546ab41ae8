// The device functions of a build without CUDA.
#include "lockstep/base/error.h"
#include "lockstep/optim/clipping.h"
#include "lockstep/optim/device_inspection.h"
#include "lockstep/optim/optimizer.h"

namespace lockstep {
namespace {

[[noreturn]] void refuse() {
  fail(ExitCode::kUsage,
       "this lockstep was built without CUDA: build the preset cuda to train on a GPU");
}

}  // namespace

std::unique_ptr<Optimizer> make_device_optimizer(const OptimizerOptions&, std::size_t, void*) {
  refuse();
}
bool all_finite_on_device(const float*, std::size_t, void*) { refuse(); }
struct DeviceInspection::Memory {};
DeviceInspection::DeviceInspection(std::size_t, void*) { refuse(); }
DeviceInspection::~DeviceInspection() = default;
void DeviceInspection::queue(const float*, std::size_t, const float*) { refuse(); }
DeviceInspection::Result DeviceInspection::wait() { refuse(); }
void update_average_on_device(float*, const float*, std::size_t, double, void*) { refuse(); }
double l2_norm_on_device(const float*, std::size_t, void*) { refuse(); }
double clip_by_norm_on_device(float*, std::size_t, double, void*) { refuse(); }

}  // namespace lockstep
