// What a push into shared memory costs the writer, beside the least it could: the same bytes stored, and a
// counter.

#include <sys/mman.h>

#include <atomic>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstring>
#include <sstream>
#include <vector>

#include "bench/groups.h"
#include "bench/measure.h"
#include "shm/array.h"
#include "shm/records.h"

namespace banyan::bench {
namespace {

using shm::Ohlcv;
static_assert(sizeof(Ohlcv) == 56);

constexpr std::uint64_t kRows = 200000;  // 11 MB: beyond the inner caches, like an array that is in use
constexpr int kRuns = 21;

Ohlcv row_of(std::uint64_t number) {
  const double price = double(number % 1000);
  return {std::int64_t(number), price, price, price, price, 1, price};
}

// Into memory that was made as ours is.
double plain_rate(std::uint64_t block, const std::vector<Ohlcv>& rows, shm::Store& store) {
  auto array = shm::Array<Ohlcv>::create(store, "bench", {kRows});
  if (!array) die(array.error().text);
  std::byte* const memory = array->segment()->own_rows();
  std::atomic<std::uint64_t>& counter = array->segment()->own_header().last;
  const double began = cpu_us(kOurselves);
  for (std::uint64_t last = 0; last < kRows; last += block) {
    if (block == 1) {
      const Ohlcv row = row_of(last);
      std::memcpy(memory + last * sizeof row, &row, sizeof row);
    } else {
      std::memcpy(memory + last * sizeof(Ohlcv), rows.data(), block * sizeof(Ohlcv));
    }
    counter.store(last + block, std::memory_order_release);
  }
  const double took = cpu_us(kOurselves) - began;
  store.end("bench");
  return double(kRows) / took;
}

double our_rate(std::uint64_t block, const std::vector<Ohlcv>& rows, const shm::ArrayOptions& options,
                shm::Store& store) {
  auto array = shm::Array<Ohlcv>::create(store, "bench", options);
  if (!array) die(array.error().text);
  const double began = cpu_us(kOurselves);
  bool pushed = true;
  for (std::uint64_t last = 0; last < kRows; last += block)
    pushed = bool(block == 1 ? array->append(row_of(last)) : array->append(rows)) && pushed;
  const double took = cpu_us(kOurselves) - began;
  store.end("bench");
  if (!pushed) die("a push was refused");
  return double(kRows) / took;
}

double update_rate(shm::Store& store) {
  auto array = shm::Array<Ohlcv>::create(store, "bench", {16, 0, shm::Rewrites::kNewest});
  if (!array || !array->append(row_of(0))) die("no array to update");
  const double began = cpu_us(kOurselves);
  bool updated = true;
  for (std::uint64_t i = 0; i < kRows; ++i) updated = bool(array->update_newest(row_of(i))) && updated;
  const double took = cpu_us(kOurselves) - began;
  store.end("bench");
  if (!updated) die("an update was refused");
  return double(kRows) / took;
}

// Shared memory that is mapped before it is written, as an array's is.
class Plain {
 public:
  explicit Plain(std::size_t bytes) : bytes_(bytes) {
    memory_ =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory_ == MAP_FAILED) die("no shared memory");
  }
  Plain(const Plain&) = delete;
  Plain& operator=(const Plain&) = delete;
  ~Plain() { ::munmap(memory_, bytes_); }
  void* at() const { return memory_; }

 private:
  std::size_t bytes_;
  void* memory_;
};

// Filled once, as the array is; nobody takes anything out.
double queue_rate(std::uint64_t block, const std::vector<Ohlcv>& rows) {
  using Queue = boost::lockfree::spsc_queue<Ohlcv, boost::lockfree::capacity<kRows>>;
  const Plain memory(sizeof(Queue));
  auto* queue = new (memory.at()) Queue;
  const double began = cpu_us(kOurselves);
  for (std::uint64_t i = 0; i < kRows; i += block)
    if (block == 1 ? !queue->push(row_of(i)) : queue->push(rows.data(), block) != block)
      die("the queue is full");
  const double took = cpu_us(kOurselves) - began;
  queue->~Queue();
  return double(kRows) / took;
}

std::string in_millions(const Samples& rates) {
  return format("%.1f M/s (%.1f ns)", rates.median(), 1e3 / rates.median());
}

// Rows a second in millions, or nothing where there is no NumPy.
std::vector<double> numpy_rates() {
  std::vector<double> rates;
  std::istringstream words(output_of(
      {"sh", "-c",
       std::string("/usr/bin/python3 '") + BANYAN_BENCH_PEERS + "/numpy_push.py' 2>/dev/null || true"}));
  for (double rate = 0; words >> rate;) rates.push_back(rate / 1e6);
  return rates;
}

}  // namespace

void measure_shm_push() {
  Table table("Shared memory: pushes",
              format("Rows of 56 bytes, %d of them, nobody asleep; the peer stores "
                     "the same bytes into shared memory and then a "
                     "counter (release). Processor time; medians of %d runs, in turns.",
                     int(kRows), kRuns));
  const TemporaryFolder folder;
  shm::Store store(folder.path() + "/names");
  const std::vector<double> numpy = numpy_rates();
  for (const std::uint64_t block : {1, 1000}) {
    std::vector<Ohlcv> rows;
    for (std::uint64_t i = 0; i < block; ++i) rows.push_back(row_of(i));
    Samples plain, ours, ring, queue;
    for (int run = 0; run < kRuns; ++run) {
      plain.add(plain_rate(block, rows, store));
      ours.add(our_rate(block, rows, {kRows}, store));
      ring.add(our_rate(block, rows, {.capacity = 65536, .ring = true}, store));
      queue.add(queue_rate(block, rows));
    }
    const std::string what = block == 1 ? "one row" : "1000 rows";
    const double cost = plain.median() / ours.median();
    table.at_most(what + ": array", in_millions(ours), in_millions(plain), cost,
                  block == 1 ? Budget{2} : Budget{1 / 0.75});
    table.plain(what + ": ring of 65,536", in_millions(ring), in_millions(plain),
                plain.median() / ring.median());
    table.at_least(what + ": rate beside boost's spsc_queue", in_millions(ours), in_millions(queue),
                   ours.median() / queue.median(), block == 1 ? Budget{2} : Budget{0});
    if (numpy.size() == 2) {
      const double peer = numpy[block == 1 ? 0 : 1];
      table.at_least(what + ": rate beside NumPy", in_millions(ours), format("%.2f M/s", peer),
                     ours.median() / peer, block == 1 ? Budget{100} : Budget{5});
    }
  }
  Samples updates, plain;
  for (int run = 0; run < kRuns; ++run) {
    updates.add(update_rate(store));
    plain.add(plain_rate(1, {}, store));
  }
  table.plain("the newest row, in its place", in_millions(updates), in_millions(plain),
              plain.median() / updates.median());
  if (numpy.size() != 2) table.note("There was no NumPy (Debian's python3-numpy) to compare with.");
}

}  // namespace banyan::bench
