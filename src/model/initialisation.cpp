#include "lockstep/model/initialisation.h"

#include <cmath>
#include <string>
#include <vector>

#include "lockstep/base/cast.h"
#include "lockstep/base/random.h"

namespace lockstep {

namespace {

// By PyTorch's names: what a normalisation multiplies by (1), or the slope of a PReLU.
bool is_scale(const std::string& name) { return name == "weight" || name.ends_with(".weight"); }

}  // namespace

void initialise_glorot_uniform(torch::nn::Module& module, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  std::uint64_t index = 0;
  std::vector<std::uint32_t> words;
  for (const auto& item : module.named_parameters()) {
    at::Tensor parameter = item.value();
    const RandomKey key{.seed = seed, .purpose = Purpose::kInitialisation, .sample = index++};
    if (parameter.dim() < 2) {
      if (!is_scale(item.key())) parameter.zero_();
      continue;
    }
    const std::int64_t area = parameter[0][0].numel();
    const std::int64_t fans = (parameter.size(0) + parameter.size(1)) * area;
    const double limit = std::sqrt(6.0 / static_cast<double>(fans));
    at::Tensor values = at::empty(parameter.sizes(), at::kFloat);
    words.resize(checked_cast<std::size_t>(values.numel()));
    fill_random_words(key, words);
    float* out = values.mutable_data_ptr<float>();
    for (std::size_t i = 0; i < words.size(); ++i) {
      out[i] =
          static_cast<float>((2.0 * static_cast<double>(uniform_float(words[i])) - 1.0) * limit);
    }
    parameter.copy_(values);
  }
}

}  // namespace lockstep
