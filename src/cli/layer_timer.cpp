#include "layer_timer.h"

#include <ATen/SequenceNumber.h>
#include <ATen/record_function.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

// Operators within operators of the calling thread.
thread_local int depth = 0;

std::string_view without_namespace(std::string_view name) {
  constexpr std::string_view kPrefix = "aten::";
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

bool is_matrix_product(std::string_view operation) {
  constexpr std::array<std::string_view, 5> kProducts{"linear", "addmm", "mm", "matmul",
                                                      "lockstep::dense"};
  return std::ranges::find(kProducts, operation) != kProducts.end();
}

bool is_product(std::string_view operation) {
  return is_matrix_product(operation) || operation == "conv1d" || operation == "conv2d" ||
         operation == "conv3d" || operation == "lockstep::convolution";
}

// A dense layer multiplies with its weight transposed.
bool is_transposition(std::string_view operation) {
  return operation == "t" || operation == "transpose";
}

// Places where the weight is applied, in all samples.
double positions(std::string_view operation, const at::Tensor& input, const at::Tensor& output) {
  const at::Tensor& counted =
      output.defined() ? output : input;  // a "same" convolution's are equal
  if (is_matrix_product(operation)) {
    return static_cast<double>(counted.numel()) / static_cast<double>(counted.size(-1));
  }
  return static_cast<double>(counted.numel()) / static_cast<double>(counted.size(1));
}

}  // namespace

struct LayerTimer::State {
  explicit State(const ComputeDevice& compute_device) : device(compute_device) {}

  // Nodes of the graph that a row's operators have made: numbers from `begin` on, up to `end`.
  struct Nodes {
    std::uint64_t begin = 0, end = 0;
    std::size_t row = 0;
  };

  struct Observed : at::ObserverContext {
    bool outermost = false;
    bool backward = false;
    std::optional<std::size_t> row{};
    std::uint64_t first_node = 0;
    at::Tensor input{}, weight{};
    Stopwatch watch{};
  };

  std::size_t row_of(const std::string& layer, std::string_view operation) {
    const std::string key = layer.empty() ? fmt::format("-{}", operation) : layer;
    const auto [at, added] = rows_by_key.try_emplace(key, rows.size());
    if (added) rows.push_back({.layer = layer, .operators = {}});
    if (!layer.empty() && is_transposition(operation)) return at->second;  // next to nothing
    std::string& names = rows[at->second].operators;
    if (names.empty()) {
      names = operation;
    } else if (fmt::format(", {},", names).find(fmt::format(", {},", operation)) ==
               std::string::npos) {
      names.append(", ").append(operation);
    }
    return at->second;
  }

  void begin_forward(Observed& observed, const at::RecordFunction& function) {
    const std::string_view operation = without_namespace(function.name());
    std::string layer;
    for (const c10::IValue& value : function.inputs()) {
      if (!value.isTensor() || !value.toTensor().defined()) continue;
      const at::Tensor& tensor = value.toTensor();
      const auto known = layers.find(tensor.unsafeGetTensorImpl());
      if (known == layers.end()) {
        if (!observed.input.defined()) observed.input = tensor;
        continue;
      }
      if (layer.empty()) layer = known->second;
      if (!observed.weight.defined() && tensor.dim() > 1) observed.weight = tensor;
    }
    if (!observed.weight.defined() || !is_product(operation)) observed.input.reset();
    observed.row = row_of(layer, operation);
    observed.first_node = at::sequence_number::peek();
  }

  void end_forward(const Observed& observed, const at::RecordFunction& function) {
    LayerTime& row = rows[*observed.row];
    row.forward += observed.watch.seconds();
    const std::uint64_t next_node = at::sequence_number::peek();
    if (next_node > observed.first_node) {
      nodes.push_back({observed.first_node, next_node, *observed.row});
    }
    const std::string_view operation = without_namespace(function.name());
    const auto& outputs = function.outputs();
    const at::Tensor output =
        !outputs.empty() && outputs[0].isTensor() ? outputs[0].toTensor() : at::Tensor();
    if (is_transposition(operation) && !row.layer.empty() && output.defined()) {
      layers[output.unsafeGetTensorImpl()] = row.layer;
      transposed.push_back(output);
    }
    if (!observed.input.defined()) return;
    const double flop = 2 * static_cast<double>(observed.weight.numel()) *
                        positions(operation, observed.input, output);
    row.forward_flop += flop;
    row.backward_flop += observed.input.requires_grad() ? 2 * flop : flop;
  }

  std::optional<std::size_t> row_of_node(std::int64_t number) const {
    const auto value = static_cast<std::uint64_t>(number);
    auto after = std::ranges::upper_bound(nodes, value, {}, &Nodes::begin);
    if (after == nodes.begin()) return std::nullopt;
    --after;
    if (value >= after->end) return std::nullopt;
    return after->row;
  }

  std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    const bool backward = function.scope() == at::RecordScope::BACKWARD_FUNCTION;
    const bool of_forward = in_forward && std::this_thread::get_id() == forward_thread;
    if (!backward && !of_forward) return nullptr;
    auto observed = std::make_unique<Observed>();
    observed->backward = backward;
    observed->outermost = depth++ == 0;
    if (!observed->outermost) return observed;
    const std::lock_guard lock(mutex);
    if (backward) {
      observed->row = row_of_node(function.seqNr());
    } else {
      begin_forward(*observed, function);
    }
    observed->watch.lap();
    return observed;
  }

  void end(const at::RecordFunction& function, const Observed& observed) {
    --depth;
    if (!observed.outermost || !observed.row) return;
    wait_for_device();
    const std::lock_guard lock(mutex);
    if (observed.backward) {
      rows[*observed.row].backward += observed.watch.seconds();
    } else {
      end_forward(observed, function);
    }
  }

  void wait_for_device() const {
    if (!device.is_cuda()) return;
    c10::impl::VirtualGuardImpl(device.device.type()).synchronizeDevice(device.device.index());
  }

  void note_parameters(const torch::nn::Module& module) {
    layers.clear();
    for (const auto& item : module.named_parameters()) {
      const std::size_t dot = item.key().rfind('.');
      layers[item.value().unsafeGetTensorImpl()] =
          dot == std::string::npos ? item.key() : item.key().substr(0, dot);
    }
  }

  ComputeDevice device;
  std::optional<Model> model;
  bool counting = false;
  bool in_forward = false;
  std::thread::id forward_thread;
  std::map<const c10::TensorImpl*, std::string> layers;  // of parameters, and of `transposed`
  std::vector<at::Tensor> transposed;                    // in the pass under way
  std::mutex mutex;  // a GPU's backward pass has a thread of its own
  std::vector<LayerTime> rows;
  std::map<std::string, std::size_t> rows_by_key;
  std::vector<Nodes> nodes;  // of the pass under way, ascending
  std::optional<at::CallbackHandle> handle;

  // LibTorch's callbacks are plain functions.
  static State* active;
};

LayerTimer::State* LayerTimer::State::active = nullptr;

LayerTimer::LayerTimer(const ComputeDevice& device) : state_(std::make_unique<State>(device)) {}

LayerTimer::~LayerTimer() { stop(); }

Model LayerTimer::watch(const Model& model) {
  State* const state = state_.get();
  state->model = model;
  return Model(model.module(), [state](const at::Tensor& inputs, const StepContext& context) {
    if (!state->counting || !context.training) return state->model->forward(inputs, context);
    state->note_parameters(*state->model->module());
    state->nodes.clear();
    state->wait_for_device();
    state->forward_thread = std::this_thread::get_id();
    state->in_forward = true;
    // Also when it throws.
    const std::unique_ptr<State, void (*)(State*)> end(state, [](State* ending) {
      ending->in_forward = false;
      ending->layers.clear();
      ending->transposed.clear();
    });
    return state->model->forward(inputs, context);
  });
}

void LayerTimer::start() {
  LOCKSTEP_CHECK(State::active == nullptr, "two layer timers at once");
  State::active = state_.get();
  state_->counting = true;
  state_->handle = at::addGlobalCallback(
      at::RecordFunctionCallback(
          [](const at::RecordFunction& function) { return State::active->begin(function); },
          [](const at::RecordFunction& function, at::ObserverContext* context) {
            if (context == nullptr) return;
            State::active->end(function, *static_cast<const State::Observed*>(context));
          })
          .needsInputs(true)
          .needsOutputs(true)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
}

void LayerTimer::stop() {
  if (!state_->handle) return;
  at::removeCallback(*state_->handle);
  state_->handle.reset();
  state_->counting = false;
  State::active = nullptr;
}

std::vector<LayerTime> LayerTimer::times() const { return state_->rows; }

}  // namespace lockstep
