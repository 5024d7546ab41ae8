// Compiled with -mavx2 -mfma, like the kernels' own file.
#include "wide_table.h"

#include "kernels/make_table.h"
#include "kernels/vector_avx2.h"
#include "lockstep/base/instruction_set.h"

namespace lockstep {

// Two AVX2 registers as one vector, with AVX-512's register tiles.
struct Wide {
  using Half = kernels::Avx2;
  struct Vector {
    Half::Vector low, high;
  };
  static constexpr int kLanes = 16;
  static constexpr int kRowsOfWideTile = 6;

  static Vector zero() { return {Half::zero(), Half::zero()}; }
  static Vector load(const float* p) { return {Half::load(p), Half::load(p + 8)}; }
  static void store(float* p, Vector v) {
    Half::store(p, v.low);
    Half::store(p + 8, v.high);
  }
  static Vector fill(float x) { return {Half::fill(x), Half::fill(x)}; }
  static Vector fill_from(const float* p) { return {Half::fill_from(p), Half::fill_from(p)}; }
  static Vector add(Vector a, Vector b) {
    return {Half::add(a.low, b.low), Half::add(a.high, b.high)};
  }
  static Vector subtract(Vector a, Vector b) {
    return {Half::subtract(a.low, b.low), Half::subtract(a.high, b.high)};
  }
  static Vector multiply(Vector a, Vector b) {
    return {Half::multiply(a.low, b.low), Half::multiply(a.high, b.high)};
  }
  static Vector multiply_add(Vector a, Vector b, Vector c) {
    return {Half::multiply_add(a.low, b.low, c.low), Half::multiply_add(a.high, b.high, c.high)};
  }
  static Vector relu(Vector v) { return {Half::relu(v.low), Half::relu(v.high)}; }
  static void store_positive_bits(std::uint8_t* p, Vector v) {
    Half::store_positive_bits(p, v.low);
    Half::store_positive_bits(p + 1, v.high);
  }
  static Vector where_bit(Vector v, const std::uint8_t* p) {
    return {Half::where_bit(v.low, p), Half::where_bit(v.high, p + 1)};
  }
  static void take_greater(Vector v, float number, Vector& best, Vector& winner) {
    Half::take_greater(v.low, number, best.low, winner.low);
    Half::take_greater(v.high, number, best.high, winner.high);
  }
  static Vector replace_where_not_positive(Vector winner, float number, Vector v) {
    return {Half::replace_where_not_positive(winner.low, number, v.low),
            Half::replace_where_not_positive(winner.high, number, v.high)};
  }
  static void store_bytes(std::uint8_t* p, Vector numbers) {
    Half::store_bytes(p, numbers.low);
    Half::store_bytes(p + 8, numbers.high);
  }
  static Vector where_byte_is(Vector v, const std::uint8_t* p, int number) {
    return {Half::where_byte_is(v.low, p, number), Half::where_byte_is(v.high, p + 8, number)};
  }
};

const kernels::KernelTable* wide_table() {
  if (!is_usable(InstructionSet::kAvx2)) return nullptr;
  static constexpr kernels::KernelTable table = kernels::make_table<Wide>("wide");
  return &table;
}

}  // namespace lockstep
