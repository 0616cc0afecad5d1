// shm/records.h -- ready-made records: bars of a market, with and without the number of the row.
#pragma once

#include <cstdint>

#include "shm/record.h"

namespace banyan::shm {

// Open, high, low, close and volume of a period; `time` is its beginning, `bar_wap` its average price by
// volume.
struct Ohlcv {
  std::int64_t time = 0;
  double open = 0, high = 0, low = 0, close = 0;
  double volume = 0;
  double bar_wap = 0;
};
BANYAN_SHM_RECORD(Ohlcv, time, open, high, low, close, volume, bar_wap);

struct Iohlcv {
  std::int64_t index = 0;  // the array's
  std::int64_t time = 0;
  double open = 0, high = 0, low = 0, close = 0;
  double volume = 0;
  double bar_wap = 0;
};
BANYAN_SHM_RECORD(Iohlcv, index, time, open, high, low, close, volume, bar_wap);

}  // namespace banyan::shm
