// Dropout: whose mask depends on the sample and nothing around it.
#include "lockstep/model/dropout.h"

#include <gtest/gtest.h>

#include <vector>

#include "lockstep/base/random.h"

namespace lockstep {
namespace {

StepContext context_for(std::vector<std::int64_t> samples, std::uint32_t epoch = 3) {
  return {.training = true, .seed = 11, .epoch = epoch, .samples = at::tensor(samples, at::kLong)};
}

TEST(Dropout, IsTheIdentityOutsideTraining) {
  const at::Tensor x = at::rand({2, 5});
  EXPECT_TRUE(at::equal(dropout(x, 0.5, {}, 0), x));
}

TEST(Dropout, AcceptsAnEmptyBatch) {
  EXPECT_EQ(dropout(at::rand({0, 5}), 0.5, context_for({}), 0).size(0), 0);
}

TEST(Dropout, DoesNotDependOnTheBatch) {
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{4, 3, 5, 7}, {4, 33}}) {
    const at::Tensor x = at::rand(shape).add(0.1);
    const at::Tensor all = dropout(x, 0.25, context_for({9, 2, 70'000, 5}), 1);
    const at::Tensor reordered =
        dropout(x.index_select(0, at::tensor({2, 0})), 0.25, context_for({70'000, 9}), 1);
    EXPECT_TRUE(at::equal(reordered[0], all[2]));
    EXPECT_TRUE(at::equal(reordered[1], all[0]));
    EXPECT_FALSE(at::equal(all[0].eq(0), all[1].eq(0)));
  }
}

TEST(Dropout, DoesNotDependOnTheMemoryFormat) {
  const at::Tensor x = at::rand({3, 4, 6, 6}).add(0.1);
  const StepContext context = context_for({1, 2, 3});
  EXPECT_TRUE(at::equal(dropout(x, 0.25, context, 0),
                        dropout(x.contiguous(at::MemoryFormat::ChannelsLast), 0.25, context, 0)));
}

TEST(Dropout, ChangesWithEpochLayerAndSeed) {
  const at::Tensor x = at::ones({1, 200});
  const at::Tensor base = dropout(x, 0.5, context_for({4}), 0);
  EXPECT_FALSE(at::equal(base, dropout(x, 0.5, context_for({4}, 4), 0)));
  EXPECT_FALSE(at::equal(base, dropout(x, 0.5, context_for({4}), 1)));
  StepContext other = context_for({4});
  other.seed = 12;
  EXPECT_FALSE(at::equal(base, dropout(x, 0.5, other, 0)));
}

// Element e of the image in [H,W,C] order takes half e % 2 (low first) of random word e / 2.
TEST(Dropout, TakesItsBitsFromTheStreamOfTheSample) {
  const at::Tensor out = dropout(at::ones({1, 2, 3, 3}), 0.25, context_for({6}), 2);
  const RandomKey key{
      .seed = 11, .purpose = Purpose::kDropout, .epoch = 3, .sample = 6, .layer = 2};
  std::int64_t element = 0;
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 3; ++x) {
      for (int c = 0; c < 2; ++c, ++element) {
        const auto words = random_words(key, static_cast<std::uint32_t>(element / 8));
        const std::uint32_t word = words[static_cast<std::size_t>(element % 8 / 2)];
        const bool keep = (word >> (element % 2 * 16) & 0xffffu) >= 16384;
        EXPECT_EQ(out[0][c][y][x].item<float>(), keep ? 4.0f / 3.0f : 0.0f);
      }
    }
  }
}

TEST(Dropout, KeepsTheExpectedShareAndMean) {
  for (const double p : {0.1, 0.25, 0.5, 0.9}) {
    const at::Tensor out = dropout(at::ones({1, 200'000}), p, context_for({0}), 0);
    EXPECT_NEAR(out.eq(0).to(at::kDouble).mean().item<double>(), p, 0.005);
    EXPECT_NEAR(out.mean().item<double>(), 1.0, 0.02);
  }
}

TEST(Dropout, MasksTheGradientAlike) {
  for (const bool transposed : {false, true}) {
    const at::Tensor x = at::rand({2, 3, 4, 5}).add(0.1).requires_grad_();
    const at::Tensor y = dropout(x, 0.5, context_for({1, 2}), 0);
    // A gradient that arrives in another memory format must still meet the right mask.
    const at::Tensor weight = at::rand({2, 3, 4, 5});
    y.backward(transposed ? weight : weight.contiguous(at::MemoryFormat::ChannelsLast));
    const at::Tensor expected = weight * y.detach().ne(0) * 2;
    EXPECT_TRUE(at::equal(x.grad(), expected));
  }
}

}  // namespace
}  // namespace lockstep
