// Goal: one line describes a struct, and what comes out is what NumPy calls a descr, padding included.
// Method: structs with gaps, text and arrays against the text they must give; broken texts must be refused.

#include "shm/record.h"

#include <catch2/catch.hpp>

#include "shm/records.h"

using namespace banyan::shm;

namespace {

enum class Side : std::uint8_t { kBuy, kSell };

struct Trade {
  std::int64_t time;
  double price;
  Side side;
};
BANYAN_SHM_RECORD(Trade, time, price, side);

struct Everything {
  bool flag;
  std::int16_t small;
  char name[5];
  float real;
  std::array<std::uint32_t, 3> counts;
  std::array<char, 2> code;
  double matrix[2];
};
BANYAN_SHM_RECORD(Everything, flag, small, name, real, counts, code, matrix);

struct Skipping {
  std::uint32_t shown, hidden, also;
};
BANYAN_SHM_RECORD(Skipping, shown, also);

std::string descriptor_from(std::string_view fields) {
  return "[" + std::string(fields) + "]";
}

}  // namespace

TEST_CASE("a record's descriptor is NumPy's, with what the compiler left free") {
  CHECK(descriptor_of<Trade>() == "[('time', '<i8'), ('price', '<f8'), ('side', '|u1'), ('', '|V7')]");
  CHECK(descriptor_of<Everything>() ==
        "[('flag', '|b1'), ('', '|V1'), ('small', '<i2'), ('name', '|S5'), ('', '|V3'), ('real', '<f4'), "
        "('counts', '<u4', (3,)), ('code', '|S2'), ('', '|V2'), ('matrix', '<f8', (2,))]");
  CHECK(descriptor_of<Skipping>() == "[('shown', '<u4'), ('', '|V4'), ('also', '<u4')]");
  CHECK(descriptor_of<Iohlcv>().starts_with("[('index', '<i8'), ('time', '<i8'), ('open', '<f8')"));
  CHECK(has_index<Iohlcv>());
  CHECK_FALSE(has_index<Ohlcv>());
}

TEST_CASE("a descriptor says how many bytes its record takes") {
  CHECK(*descriptor_bytes(descriptor_of<Trade>()) == sizeof(Trade));
  CHECK(*descriptor_bytes(descriptor_of<Everything>()) == sizeof(Everything));
  CHECK(*descriptor_bytes(descriptor_of<Iohlcv>()) == sizeof(Iohlcv));
}

TEST_CASE("a descriptor that is none of ours is refused") {
  for (const char* fields :
       {"", "('a', '<i8'),('b', '<i8')", "('a', '<i8'), ", "('a', '<i3')", "('a', 'i8')", "('', '<i8')",
        "('a', '|V8')", "('a', '<i8', (0,))", "('a', '<i8', (2))", "('a', '<i8', (99999999999999999999,))",
        "('a b', '<i8')", "('a', '<O8')", "('a', '|S0')", "('a', '<i08')", "('a', '<i8', (16777216,))"}) {
    CAPTURE(fields);
    CHECK_FALSE(descriptor_bytes(descriptor_from(fields)));
  }
  CHECK_FALSE(descriptor_bytes("('a', '<i8')"));
  CHECK_FALSE(descriptor_bytes("[('a', '<i8')] "));
  CHECK_FALSE(descriptor_bytes("[('a', '<i8')"));
}
