// How long a row takes from a writer to a reader in another process, spinning and asleep, beside a bare
// counter and a bare futex.

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <functional>
#include <string>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/processes.h"
#include "shm/array.h"

namespace banyan::bench {
namespace {

struct Stamp {
  double sent_us = 0;
  double filled[6] = {};
};
BANYAN_SHM_RECORD(Stamp, sent_us, filled);

constexpr std::uint64_t kRows = 2000;
constexpr std::uint64_t kFirstCounted = 200;  // both sides are warm by then

// What the bare peers share, and where every reader writes down what it saw.
struct Shared {
  alignas(64) std::atomic<std::uint32_t> counter;
  alignas(64) std::atomic<std::uint32_t> ready;
  Stamp rows[kRows];
  double took_us[kRows];
};

class SharedPage {
 public:
  SharedPage() {
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) die("no shared memory");
    shared_ = new (memory) Shared();
  }
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  ~SharedPage() { ::munmap(shared_, sizeof(Shared)); }
  Shared* operator->() const { return shared_; }
  Shared& operator*() const { return *shared_; }

 private:
  Shared* shared_;
};

void wait_until(double time_us) {
  while (now_us() < time_us) {
  }
}

void bare_reader(Shared& shared, bool asleep) {
  shared.ready = 1;
  for (std::uint32_t row = 0; row < kRows; ++row) {
    while (shared.counter.load(std::memory_order_acquire) <= row)
      if (asleep) ::syscall(SYS_futex, &shared.counter, FUTEX_WAIT, row, nullptr, nullptr, 0);
    shared.took_us[row] = now_us() - shared.rows[row].sent_us;
  }
  shared.ready = 2;
}

void our_reader(Shared& shared, const shm::Token& token, const std::string& folder, bool asleep) {
  shm::Store store(folder);
  auto array = shm::Array<Stamp>::attach(store, token);
  if (!array) die(array.error().text);
  const auto* rows = reinterpret_cast<const Stamp*>(array->segment()->rows());
  shared.ready = 1;
  for (std::uint64_t row = 0; row < kRows; ++row) {
    if (asleep && !array->wait(row)) die("the wait failed");
    while (array->reader().last() <= row) {
    }
    shared.took_us[row] = now_us() - rows[row].sent_us;
  }
  shared.ready = 2;
}

struct Result {
  Samples latency, push;
};

// `push` sends a row; `reader` is the other process.
template <class Push>
void measure(Result& result, Shared& shared, double pause_us, const std::function<void()>& reader,
             Push push) {
  Children children;
  children.start([&] {
    pin(kOurselves, 1);
    reader();
  });
  pin(kOurselves, 0);
  while (shared.ready == 0) {
  }
  double next = now_us();
  for (std::uint64_t row = 0; row < kRows; ++row) {
    next = std::max(next + pause_us, now_us());
    wait_until(next);
    const double began = now_us();
    push(row, began);
    if (row >= kFirstCounted) result.push.add(now_us() - began);
  }
  while (shared.ready != 2) {
  }
  for (std::uint64_t row = kFirstCounted; row < kRows; ++row) result.latency.add(shared.took_us[row]);
  pin(kOurselves, kAnywhere);
}

void measure_bare(Result& result, bool asleep, double pause_us) {
  SharedPage shared;
  measure(
      result, *shared, pause_us, [&] { bare_reader(*shared, asleep); },
      [&](std::uint64_t row, double now) {
        shared->rows[row].sent_us = now;
        shared->counter.store(std::uint32_t(row + 1), std::memory_order_release);
        if (asleep) ::syscall(SYS_futex, &shared->counter, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
      });
}

void measure_ours(Result& result, bool asleep, double pause_us) {
  SharedPage shared;
  const TemporaryFolder folder;
  shm::Store store(folder.path() + "/names");
  auto array = shm::Array<Stamp>::create(store, "bench", {kRows});
  if (!array) die(array.error().text);
  measure(
      result, *shared, pause_us,
      [&] { our_reader(*shared, array->token(), folder.path() + "/names", asleep); },
      [&](std::uint64_t, double now) {
        if (!array->append(Stamp{now, {}})) die("a push was refused");
      });
}

}  // namespace

void measure_shm_latency() {
  Table table("Shared memory: from a push to a reader",
              "Two processes pinned to two processors, 2000 rows of 56 bytes, each with the time it was sent "
              "at; the peer is a "
              "counter that is spun on, or a bare futex. Three rounds, in turns.");
  struct Case {
    const char* what;
    bool asleep;
    double pause_us;
    Budget budget;
  };
  for (const Case& each :
       {Case{"reader spins", false, 20, {1.5}}, Case{"reader sleeps, a row every 200 us", true, 200, {1.2}},
        Case{"reader sleeps, a row every 20 us", true, 20, {}}}) {
    Result ours, bare;
    for (int round = 0; round < 3; ++round) {
      measure_bare(bare, each.asleep, each.pause_us);
      measure_ours(ours, each.asleep, each.pause_us);
    }
    const double ratio = ours.latency.median() / bare.latency.median();
    const auto text = [](const Samples& samples) {
      return format("%.2f us (p99 %.1f)", samples.median(), samples.p99());
    };
    if (each.budget.must > 0)
      table.at_most(each.what, text(ours.latency), text(bare.latency), ratio, each.budget);
    else
      table.plain(each.what, text(ours.latency), text(bare.latency), ratio);
    // What another process that wants the processor cannot have lengthened.
    const double fast = ours.latency.quantile(0.1), bare_fast = bare.latency.quantile(0.1);
    table.plain(std::string(each.what) + ": the fastest tenth", format("%.2f us", fast),
                format("%.2f us", bare_fast), fast / bare_fast);
    table.plain(std::string(each.what) + ": the push", text(ours.push), text(bare.push),
                ours.push.median() / bare.push.median());
  }
}

}  // namespace banyan::bench
