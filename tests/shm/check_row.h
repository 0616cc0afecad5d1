// tests/shm/check_row.h -- a row that knows what it must hold: a reader that gets one that was never written,
// or half of two, can tell.
#pragma once

#include <cstdint>

#include "shm/record.h"

namespace banyan::shm::test {

struct CheckRow {
  std::int64_t index = 0;
  std::uint64_t version = 0;  // how often it has been written
  std::uint64_t first = 0, second = 0, third = 0;
  std::uint64_t last = 0;
};
BANYAN_SHM_RECORD(CheckRow, index, version, first, second, third, last);

inline std::uint64_t mixed(std::uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

// Never 0, whatever it is made of: so it is nothing that memory begins with.
inline CheckRow check_row(std::uint64_t number, std::uint64_t version = 0) {
  const std::uint64_t seed = mixed(number * 1000003 + version + 1) | 1;
  return {std::int64_t(number), version, seed, seed * 3, seed * 5, seed * 7};
}

inline bool is_legal(const CheckRow& row, std::uint64_t number) {
  const CheckRow wanted = check_row(number, row.version);
  return row.index == std::int64_t(number) && row.first == wanted.first && row.second == wanted.second &&
         row.third == wanted.third && row.last == wanted.last;
}

}  // namespace banyan::shm::test
