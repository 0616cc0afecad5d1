// Goal: a table holds what was put in, in that order, whatever came and went before.
// Method: random insertions and removals beside a std::map and a list of what is in it; then the edges:
// values that call back when they are destroyed, removal while walking, keys of several words.
#include "core/table.h"

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "core/inbox.h"
#include "tests/support/seed.h"

using namespace banyan;

TEST_CASE("what is found is what was put in, and it is walked in order of insertion") {
  std::mt19937_64 random(test::seed());
  Table<std::uint32_t, std::uint64_t> table;
  std::map<std::uint32_t, std::uint64_t> model;
  std::vector<std::uint32_t> order;
  for (int step = 0; step < 20'000; ++step) {
    // Phases of growth and of decline, so that the table becomes large and empty by turns.
    const bool grow = random() % 100 < (step / 1000 % 2 == 0 ? 80 : 20);
    const auto key = std::uint32_t(random() % 2000);
    if (grow) {
      const auto [at, is_new] = table.emplace(key, std::uint64_t(step));
      CHECK(is_new == model.emplace(key, step).second);
      if (is_new) order.push_back(key);
      CHECK(at->second == model[key]);
    } else if (!model.empty()) {
      const std::uint32_t gone = step % 2 == 0 ? key : order[random() % order.size()];
      CHECK(table.erase(gone) == (model.erase(gone) == 1));
      std::erase(order, gone);
    }
    CHECK(table.contains(key) == model.contains(key));
    CHECK(table.size() == model.size());
  }
  std::size_t at = 0;
  for (const auto& [key, value] : table) {
    REQUIRE(at < order.size());
    CHECK(key == order[at++]);
    CHECK(value == model[key]);
  }
  CHECK(at == order.size());
  while (!order.empty()) {
    CHECK(table.erase(order.back()));
    order.pop_back();
  }
  CHECK(table.empty());
  CHECK(table.begin() == table.end());
}

TEST_CASE("keys of several words differ in any of them") {
  Table<FlowKey, int> table;
  for (std::uint32_t i = 0; i < 27; ++i) table[FlowKey{i % 3, i / 3 % 3, i / 9}] = int(i);
  CHECK(table.size() == 27);
  for (std::uint32_t i = 0; i < 27; ++i) CHECK(table[FlowKey{i % 3, i / 3 % 3, i / 9}] == int(i));
  CHECK_FALSE(table.contains(FlowKey{3, 0, 0}));
}

TEST_CASE("entries can be erased while the table is walked, and others keep their place in memory") {
  Table<std::uint64_t, int> table;
  for (std::uint64_t i = 0; i < 100; ++i) table[i] = int(i);
  const int* kept = &table.find(51)->second;
  for (auto at = table.begin(); at != table.end();) at = at->first % 2 == 0 ? table.erase(at) : ++at;
  CHECK(table.size() == 50);
  CHECK(&table.find(51)->second == kept);
  CHECK(*kept == 51);
}

TEST_CASE("a value that looks into its table while it dies finds itself gone") {
  struct Value {
    std::unique_ptr<std::function<void()>> last_words;
    Value() = default;
    Value(Value&&) = default;
    Value& operator=(Value&&) = default;
    ~Value() {
      if (last_words) (*last_words)();
    }
  };
  Table<std::uint32_t, Value> table;
  int told = 0;
  for (std::uint32_t i = 0; i < 10; ++i)
    table[i].last_words = std::make_unique<std::function<void()>>([&table, &told, i] {
      ++told;
      CHECK_FALSE(table.contains(i));
      CHECK(table.size() == std::size_t(10 - told));
    });
  table.erase(5);
  table.clear();
  CHECK(told == 10);
  CHECK(table.empty());
}
