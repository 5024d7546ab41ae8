#include "lockstep/kernels/convolution.h"

#include <algorithm>
#include <cstring>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "tables.h"
#include "tile_layout.h"

namespace lockstep {

using kernels::Geometry;
using kernels::KernelTable;
using kernels::OutputGradient;
using kernels::TileRun;

namespace {

// Tiles transformed before they are multiplied: enough that the weights are read seldom, few enough
// that the tiles stay in the second-level cache.
constexpr int kBlockTiles = 18;
// Weight rows that one part transforms.
constexpr int kWeightRows = 8;

// Output channels are a multiple of this, and so are input channels above four.
constexpr int kChannelStep = 8;

bool is_direct(const ConvolutionShape& shape) { return shape.in_channels <= 4; }

// What the parts of a weight gradient are: runs of samples, whose sums are added in order. Their
// number follows from the batch alone, so that the bits do; it is no more than the batch, so that
// no part is empty.
std::int64_t gradient_parts(std::int64_t batch) {
  if (batch < 16) return (batch + 3) / 4;
  return std::min<std::int64_t>(64, 4 * ((batch + 47) / 48));
}

// Deals one workspace out in pieces of whole cache lines: first measured, then handed out.
class Pieces {
 public:
  long add(long floats) {
    const long at = size_;
    size_ += (floats + 15) / 16 * 16;
    return at;
  }
  long size() const { return size_; }

 private:
  long size_ = 0;
};

long block_floats(const Geometry& g, int channels) {
  return kBlockTiles / kernels::kGroup * kernels::group_stride(g.planes, channels);
}

// Calls body(run) for the tiles of `samples` samples, block by block.
template <class Body>
void for_blocks(const Geometry& g, std::int64_t samples, const float* zeros, Body body) {
  const long tiles = samples * g.tiles();
  for (long first = 0; first < tiles; first += kBlockTiles) {
    body(TileRun{first, static_cast<int>(std::min<long>(kBlockTiles, tiles - first)), zeros});
  }
}

void copy_padded(const Geometry& g, const float* image, float* padded) {
  const long border = g.kernel / 2;
  const long row = static_cast<long>(g.width) * g.in_channels;
  for (long y = 0; y < g.height; ++y) {
    std::copy_n(image + y * row, row,
                padded + (y + border) * g.padded_row() + border * g.in_channels);
  }
}

// [rows][columns] into [columns][rows].
void transpose(const float* in, long rows, long columns, float* out) {
  for (long column = 0; column < columns; ++column) {
    for (long row = 0; row < rows; ++row) out[column * rows + row] = in[row * columns + column];
  }
}

// Sample `sample` of output and routes from `full`, which is in the cache now; without pooling it
// is the output already. space: out_floats() where the output is planar.
void finish_sample(const Geometry& g, const KernelTable& table, const float* full,
                   const FusedConvolution::Layer& layer, std::int64_t sample, float* space,
                   float* output, std::uint8_t* routes) {
  const std::int64_t routes_at = sample * g.route_bytes();
  if (!g.pool) {
    if (routes != nullptr) table.mark_positive(g, full, routes + routes_at);
    return;
  }
  const kernels::Dropout dropout = {
      .keep = layer.keep == nullptr ? nullptr : layer.keep + sample * g.out_floats(),
      .scale = layer.keep == nullptr ? 1 : layer.scale};
  float* to = output + sample * g.out_floats();
  table.pool(g, full, dropout, g.planar ? space : to, routes + routes_at);
  if (g.planar) transpose(space, g.out_pixels(), g.out_channels, to);
}

void forward_tiles(const Geometry& g, const KernelTable& table, std::int64_t batch,
                   const float* input, const FusedConvolution::Layer& layer, float* output,
                   std::uint8_t* routes, Workspace& workspace, Executor& executor) {
  const std::int64_t per_part = std::max<std::int64_t>(1, kBlockTiles / g.tiles());
  Pieces shared, own;
  const long weights_at = shared.add(g.planes * static_cast<long>(g.in_channels) * g.out_channels);
  const long zeros_at = shared.add(g.in_channels);
  const long tiles_at = own.add(block_floats(g, g.in_channels));
  const long products_at = own.add(block_floats(g, g.out_channels));
  const long full_at = own.add(g.pool ? per_part * g.full_floats() : 0);
  const long pooled_at = own.add(g.planar ? g.out_floats() : 0);
  const long space_at = own.add(static_cast<long>(g.kernel) * g.kernel * g.out_channels);
  float* memory =
      workspace.floats(checked_cast<std::size_t>(shared.size() + executor.workers() * own.size()));
  float* weights = memory + weights_at;
  float* zeros = memory + zeros_at;
  std::fill_n(zeros, g.in_channels, 0.0f);
  const auto worker_memory = [&](int worker) {
    return memory + shared.size() + worker * own.size();
  };

  const auto transform = [&](std::int64_t part, int worker) {
    const int first = static_cast<int>(part) * kWeightRows;
    table.transform_weights(g, false, first, std::min(first + kWeightRows, g.in_channels),
                            layer.weight, weights, worker_memory(worker) + space_at);
  };
  executor.run((g.in_channels + kWeightRows - 1) / kWeightRows, PartialTask(transform));

  const auto compute = [&](std::int64_t part, int worker) {
    float* own_memory = worker_memory(worker);
    float* tiles = own_memory + tiles_at;
    float* products = own_memory + products_at;
    const std::int64_t first = part * per_part;
    const std::int64_t samples = std::min(per_part, batch - first);
    float* full = g.pool ? own_memory + full_at : output + first * g.full_floats();
    for_blocks(g, samples, zeros, [&](const TileRun& run) {
      table.transform_input(g, run, input + first * g.in_floats(), tiles);
      table.multiply_planes(g.planes, run.count, g.in_channels, g.out_channels, tiles, weights,
                            products);
      table.finish_output(g, run, products, layer.bias, full);
    });
    for (std::int64_t i = 0; i < samples; ++i) {
      finish_sample(g, table, full + i * g.full_floats(), layer, first + i, own_memory + pooled_at,
                    output, routes);
    }
  };
  executor.run((batch + per_part - 1) / per_part, PartialTask(compute));
}

void forward_direct(const Geometry& g, const KernelTable& table, std::int64_t batch,
                    const float* input, const FusedConvolution::Layer& layer, float* output,
                    std::uint8_t* routes, Workspace& workspace, Executor& executor) {
  Pieces shared, own;
  const long weights_at = shared.add(g.weights());
  const long padded_at = own.add(g.padded_floats());
  const long full_at = own.add(g.pool ? g.full_floats() : 0);
  const long pooled_at = own.add(g.planar ? g.out_floats() : 0);
  float* memory =
      workspace.floats(checked_cast<std::size_t>(shared.size() + executor.workers() * own.size()));
  float* weights = memory + weights_at;
  const int area = g.kernel * g.kernel;
  for (int tap = 0; tap < area; ++tap) {
    for (int in = 0; in < g.in_channels; ++in) {
      for (int out = 0; out < g.out_channels; ++out) {
        weights[(tap * g.in_channels + in) * g.out_channels + out] =
            layer.weight[(static_cast<long>(out) * g.in_channels + in) * area + tap];
      }
    }
  }
  for (int worker = 0; worker < executor.workers(); ++worker) {
    std::fill_n(memory + shared.size() + worker * own.size() + padded_at, g.padded_floats(), 0.0f);
  }
  const auto compute = [&](std::int64_t sample, int worker) {
    float* own_memory = memory + shared.size() + worker * own.size();
    float* padded = own_memory + padded_at;
    float* full = g.pool ? own_memory + full_at : output + sample * g.full_floats();
    copy_padded(g, input + sample * g.in_floats(), padded);
    table.direct_output(g, padded, weights, layer.bias, full);
    finish_sample(g, table, full, layer, sample, own_memory + pooled_at, output, routes);
  };
  executor.run(batch, PartialTask(compute));
}

// The sums of all parts, added in their order and turned from [tap][in][out] into PyTorch's layout.
// `partial` holds for each part the weights' gradient and, `bias_at` floats on, the bias's.
void add_parts(const Geometry& g, std::int64_t parts, const float* partial, long part_floats,
               long bias_at, const FusedConvolution::Result& result, Executor& executor) {
  const int area = g.kernel * g.kernel;
  // Channels side by side, for the compiler to make vectors of.
  const auto add = [&](std::int64_t in, int) {
    for (int tap = 0; tap < area; ++tap) {
      const float* first = partial + (static_cast<long>(tap) * g.in_channels + in) * g.out_channels;
      for (int out = 0; out < g.out_channels; out += kChannelStep) {
        float sums[kChannelStep] = {};
        for (std::int64_t part = 0; part < parts; ++part) {
          const float* from = first + part * part_floats + out;
          for (int i = 0; i < kChannelStep; ++i) sums[i] += from[i];
        }
        float* to = result.weight + (static_cast<long>(out) * g.in_channels + in) * area + tap;
        const long stride = static_cast<long>(g.in_channels) * area;
        for (int i = 0; i < kChannelStep; ++i) to[i * stride] = sums[i];
      }
    }
  };
  executor.run(g.in_channels, PartialTask(add));
  for (int out = 0; out < g.out_channels; ++out) {
    float sum = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      sum += partial[part * part_floats + bias_at + out];
    }
    result.bias[out] = sum;
  }
}

// The part's samples: all parts have the same number, or some of them one less.
struct Samples {
  std::int64_t first;
  std::int64_t count;
};
Samples samples_of_part(std::int64_t batch, std::int64_t parts, std::int64_t part) {
  const std::int64_t first = batch * part / parts;
  return {first, batch * (part + 1) / parts - first};
}

// Of the samples from the first on. space: out_floats() of each where the gradient is planar.
OutputGradient of_samples(const Geometry& g, const FusedConvolution::Gradient& gradient,
                          const float* zeros, const Samples& samples, float* space) {
  const std::int64_t at = samples.first * g.out_floats();
  const float* in_nhwc = g.planar ? space : gradient.output_gradient + at;
  for (std::int64_t i = 0; g.planar && i < samples.count; ++i) {
    transpose(gradient.output_gradient + at + i * g.out_floats(), g.out_channels, g.out_pixels(),
              space + i * g.out_floats());
  }
  return {.gradient = in_nhwc,
          .routes = gradient.routes + samples.first * g.route_bytes(),
          .zeros = zeros,
          .scale = gradient.scale};
}

void backward_tiles(const Geometry& g, const KernelTable& table, std::int64_t batch,
                    const float* input, const float* weight,
                    const FusedConvolution::Gradient& gradient,
                    const FusedConvolution::Result& result, Workspace& workspace,
                    Executor& executor) {
  const std::int64_t parts = gradient_parts(batch);
  const long matrix = g.planes * static_cast<long>(g.in_channels) * g.out_channels;
  const int most_channels = std::max(g.in_channels, g.out_channels);
  Pieces shared, own, partial_pieces;
  partial_pieces.add(g.weights());
  const long bias_at = partial_pieces.add(g.out_channels);
  const long weights_at = shared.add(matrix);
  const long zeros_at = shared.add(most_channels);
  const long partial_at = shared.add(parts * partial_pieces.size());
  // The products that make the input gradient are done with before the input's tiles come.
  const long tiles_at = own.add(block_floats(g, g.in_channels));
  const long gradient_at = own.add(block_floats(g, g.out_channels));
  const long sums_at = own.add(matrix);
  const long most_samples = g.planar && batch > 0 ? (batch + parts - 1) / parts : 0;
  const long planes_at = own.add(most_samples * g.out_floats());
  const long space_at = own.add(static_cast<long>(g.kernel) * g.kernel * most_channels);
  float* memory =
      workspace.floats(checked_cast<std::size_t>(shared.size() + executor.workers() * own.size()));
  float* weights = memory + weights_at;
  float* zeros = memory + zeros_at;
  float* partial = memory + partial_at;
  std::fill_n(zeros, most_channels, 0.0f);
  const auto worker_memory = [&](int worker) {
    return memory + shared.size() + worker * own.size();
  };

  if (result.input != nullptr) {
    const auto transform = [&](std::int64_t part, int worker) {
      const int first = static_cast<int>(part) * kWeightRows;
      table.transform_weights(g, true, first, std::min(first + kWeightRows, g.out_channels), weight,
                              weights, worker_memory(worker) + space_at);
    };
    executor.run((g.out_channels + kWeightRows - 1) / kWeightRows, PartialTask(transform));
  }

  const auto compute = [&](std::int64_t part, int worker) {
    float* own_memory = worker_memory(worker);
    float* tiles = own_memory + tiles_at;
    float* gradient_tiles = own_memory + gradient_at;
    float* sums = own_memory + sums_at;
    float* bias = partial + part * partial_pieces.size() + bias_at;
    const Samples range = samples_of_part(batch, parts, part);
    const auto& [first, samples] = range;
    const OutputGradient from = of_samples(g, gradient, zeros, range, own_memory + planes_at);
    const float* images = input + first * g.in_floats();
    float* image_gradient =
        result.input == nullptr ? nullptr : result.input + first * g.in_floats();
    std::fill_n(bias, g.out_channels, 0.0f);
    for_blocks(g, samples, zeros, [&](const TileRun& run) {
      table.transform_gradient(g, run, from, gradient_tiles, bias);
      if (image_gradient != nullptr) {
        table.multiply_planes(g.planes, run.count, g.out_channels, g.in_channels, gradient_tiles,
                              weights, tiles);
        table.add_input_gradient(g, run, tiles, image_gradient);
      }
      table.transform_input(g, run, images, tiles);
      table.accumulate_planes(g.planes, run.count, g.in_channels, g.out_channels, tiles,
                              gradient_tiles, /*begins=*/run.first == 0, sums);
    });
    table.finish_weight_gradient(g, sums, partial + part * partial_pieces.size());
  };
  executor.run(parts, PartialTask(compute));
  add_parts(g, parts, partial, partial_pieces.size(), bias_at, result, executor);
}

void backward_direct(const Geometry& g, const KernelTable& table, std::int64_t batch,
                     const float* input, const FusedConvolution::Gradient& gradient,
                     const FusedConvolution::Result& result, Workspace& workspace,
                     Executor& executor) {
  const std::int64_t parts = gradient_parts(batch);
  Pieces shared, own, partial_pieces;
  partial_pieces.add(g.weights());
  const long bias_at = partial_pieces.add(g.out_channels);
  const long partial_at = shared.add(parts * partial_pieces.size());
  const long zeros_at = shared.add(g.out_channels);
  const long padded_at = own.add(g.padded_floats());
  const long row_at = own.add(static_cast<long>(g.width) * g.out_channels);
  const long planes_at = own.add(g.planar ? g.out_floats() : 0);
  float* memory =
      workspace.floats(checked_cast<std::size_t>(shared.size() + executor.workers() * own.size()));
  float* partial = memory + partial_at;
  float* zeros = memory + zeros_at;
  std::fill_n(zeros, g.out_channels, 0.0f);
  for (int worker = 0; worker < executor.workers(); ++worker) {
    std::fill_n(memory + shared.size() + worker * own.size() + padded_at, g.padded_floats(), 0.0f);
  }
  const auto compute = [&](std::int64_t part, int worker) {
    float* own_memory = memory + shared.size() + worker * own.size();
    float* padded = own_memory + padded_at;
    float* weights = partial + part * partial_pieces.size();
    std::fill_n(weights, partial_pieces.size(), 0.0f);
    const auto [first, samples] = samples_of_part(batch, parts, part);
    for (std::int64_t sample = first; sample < first + samples; ++sample) {
      copy_padded(g, input + sample * g.in_floats(), padded);
      const OutputGradient from =
          of_samples(g, gradient, zeros, {sample, 1}, own_memory + planes_at);
      table.direct_weight_gradient(g, padded, from, weights, weights + bias_at,
                                   own_memory + row_at);
    }
  };
  executor.run(parts, PartialTask(compute));
  add_parts(g, parts, partial, partial_pieces.size(), bias_at, result, executor);
}

const KernelTable& table_for(const ConvolutionShape& shape, InstructionSet set) {
  const KernelTable* table = kernels::find_table(set);
  if (table == nullptr) {
    fail(ExitCode::kUsage, "this CPU or build has no fast convolutions for {}", name_of(set));
  }
  // Narrower vectors take what the wider ones cannot, with the same bits.
  const auto fits = [&](int channels) { return channels % table->lanes == 0; };
  const bool wide = fits(shape.out_channels) && (is_direct(shape) || fits(shape.in_channels));
  return wide ? *table : *kernels::find_table(InstructionSet::kAvx2);
}

}  // namespace

bool supports(const ConvolutionShape& shape) {
  const int least = shape.pool ? 2 : 1;
  // Sizes of one sample are computed in long, strides within it in int.
  constexpr int kMostChannels = 1 << 14, kMostSide = 1 << 14;
  const bool channels =
      (shape.in_channels >= 1 && shape.in_channels <= 4) ||
      (shape.in_channels >= kChannelStep && shape.in_channels % kChannelStep == 0);
  return channels && (shape.pool || !shape.planar) && shape.out_channels >= kChannelStep &&
         shape.out_channels % kChannelStep == 0 && shape.in_channels <= kMostChannels &&
         shape.out_channels <= kMostChannels && (shape.kernel == 3 || shape.kernel == 5) &&
         shape.height >= least && shape.height <= kMostSide && shape.width >= least &&
         shape.width <= kMostSide;
}

FusedConvolution::FusedConvolution(const ConvolutionShape& shape, InstructionSet set)
    : shape_(shape), table_(nullptr) {
  if (!supports(shape)) {
    fail(ExitCode::kUsage,
         "no fast convolution for {} to {} channels, {}x{} kernels and {}x{} images{}",
         shape.in_channels, shape.out_channels, shape.kernel, shape.kernel, shape.height,
         shape.width, shape.planar && !shape.pool ? " that are planar and not pooled" : "");
  }
  table_ = &table_for(shape, set);
}

FusedConvolution::FusedConvolution(const ConvolutionShape& shape, const KernelTable& table)
    : shape_(shape), table_(&table) {}

Geometry FusedConvolution::geometry() const {
  Geometry g{.in_channels = shape_.in_channels,
             .out_channels = shape_.out_channels,
             .kernel = shape_.kernel,
             .height = shape_.height,
             .width = shape_.width,
             .pool = shape_.pool,
             .planar = shape_.planar};
  if (is_direct(shape_)) return g;
  const int outputs = shape_.kernel == 5 ? 4 : 5;
  const int inputs = outputs + shape_.kernel - 1;
  g.tile_rows = (g.height + outputs - 1) / outputs;
  g.tile_columns = (g.width + outputs - 1) / outputs;
  g.planes = inputs * inputs;
  return g;
}

std::int64_t FusedConvolution::route_bytes() const { return geometry().route_bytes(); }

void FusedConvolution::forward(std::int64_t batch, const float* input, const Layer& layer,
                               float* output, std::uint8_t* routes, Workspace& workspace,
                               Executor& executor) const {
  LOCKSTEP_CHECK(batch >= 0, "a batch of {}", batch);
  LOCKSTEP_CHECK(layer.keep == nullptr || shape_.pool, "dropout without pooling");
  LOCKSTEP_CHECK(routes != nullptr || !shape_.pool || batch == 0, "pooling without routes");
  const auto pass = is_direct(shape_) ? forward_direct : forward_tiles;
  pass(geometry(), *table_, batch, input, layer, output, routes, workspace, executor);
}

void FusedConvolution::backward(std::int64_t batch, const float* input, const float* weight,
                                const Gradient& gradient, const Result& result,
                                Workspace& workspace, Executor& executor) const {
  LOCKSTEP_CHECK(batch >= 0, "a batch of {}", batch);
  LOCKSTEP_CHECK(gradient.scale == 1 || shape_.pool, "dropout without pooling");
  if (!is_direct(shape_)) {
    backward_tiles(geometry(), *table_, batch, input, weight, gradient, result, workspace,
                   executor);
    return;
  }
  if (result.input != nullptr) {
    fail(ExitCode::kUsage, "no input gradient is computed for {} input channels",
         shape_.in_channels);
  }
  backward_direct(geometry(), *table_, batch, input, gradient, result, workspace, executor);
}

}  // namespace lockstep
