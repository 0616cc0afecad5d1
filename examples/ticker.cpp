// ticker.cpp -- one process writes bars of a market that it makes up, others look at them live, in shared
// memory.
//
//   ticker write NAME BARS [TRADES]    the last bar changes with each trade; then the next one begins
//   ticker read NAME                   each bar as it is complete, and the newest at the end
//
// Start as many readers as you like, before or after the writer; none copies more than a bar, and none can
// hurt it.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "shm/array.h"
#include "shm/records.h"

namespace shm = banyan::shm;
using Bars = shm::Array<shm::Iohlcv>;

namespace {

int failed(const shm::Error& error) {
  std::fprintf(stderr, "ticker: %s\n", error.text.c_str());
  return 1;
}

int write(const char* name, std::uint64_t bars_wanted, int trades) {
  shm::Store store;
  auto bars = Bars::create(store, name, {bars_wanted, 0, shm::Rewrites::kNewest});
  if (!bars) return failed(bars.error());
  std::printf("%s\n", bars->token().to_text().c_str());  // what the NumPy reader wants

  double price = 100;
  for (std::uint64_t number = 0; number < bars_wanted; ++number) {
    if (auto pushed = bars->append({0, std::int64_t(60 * number), price, price, price, price, 0, price});
        !pushed)
      return failed(pushed.error());
    for (int trade = 0; trade < trades; ++trade) {
      price *= 1 + 0.001 * std::sin(double(number * 31 + std::uint64_t(trade) * 7));
      const auto changed = bars->change_newest([&](shm::Iohlcv& bar) {
        bar.high = std::max(bar.high, price);
        bar.low = std::min(bar.low, price);
        bar.bar_wap = (bar.bar_wap * bar.volume + price) / (bar.volume + 1);
        bar.close = price;
        bar.volume += 1;
      });
      if (!changed) return failed(changed.error());
    }
  }
  // Whoever types Ctrl-D, or ends the pipe, ends the market.
  char byte = 0;
  while (::read(0, &byte, 1) > 0) {
  }
  return 0;  // the store ends it, tells the readers, and takes the name away
}

int read(const char* name) {
  shm::Store store;
  auto bars = Bars::attach(store, name);
  for (int tries = 0; !bars && bars.error().kind == shm::ErrorKind::kNotFound && tries < 1000; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // nobody tells of names that are made
    bars = Bars::attach(store, name);
  }
  if (!bars) return failed(bars.error());

  for (std::uint64_t next = bars->bounds() ? bars->bounds()->first : 0;;) {
    const auto found = bars->wait(next + 1);  // a bar is complete when there is another behind it
    if (!found && found.error().kind != shm::ErrorKind::kEnded) return failed(found.error());
    if (!found) break;
    for (const shm::Iohlcv& bar : bars->snapshot()->rows.subspan(next - found->first))
      std::printf("bar %3lld  open %8.3f  high %8.3f  low %8.3f  close %8.3f  volume %4.0f\n",
                  static_cast<long long>(next++), bar.open, bar.high, bar.low, bar.close, bar.volume);
  }
  if (const auto newest = bars->last(1); newest && !newest->empty())
    std::printf("ended; the last close was %.3f\n", newest->back().close);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // live also through a pipe
  const std::string job = argc > 2 ? argv[1] : "";
  if (job == "write" && argc > 3)
    return write(argv[2], std::strtoull(argv[3], nullptr, 10), argc > 4 ? std::atoi(argv[4]) : 100);
  if (job == "read") return read(argv[2]);
  std::fprintf(stderr, "usage: ticker write NAME BARS [TRADES] | ticker read NAME\n");
  return 2;
}
