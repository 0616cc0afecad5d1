// Goal: a Function calls what it was given, owns it exactly as long as it should, and is moved without a
// trace. Method: callables that count how many of them there are; small ones, which are held in place, and
// large ones.
#include "core/function.h"

#include <catch2/catch.hpp>
#include <memory>

using namespace banyan;

namespace {

using Shared = std::shared_ptr<int>;

}  // namespace

TEST_CASE("a function without a callable is false, one with it is called with its arguments") {
  Function<int(int, int)> add;
  CHECK_FALSE(add);
  add = [](int a, int b) { return a + b; };
  REQUIRE(add);
  CHECK(add(2, 3) == 5);
  add = nullptr;
  CHECK_FALSE(add);
}

TEST_CASE("what holds no callable makes a function that is false") {
  int (*nothing)() = nullptr;
  const Function<int()> function = nothing;
  CHECK_FALSE(function);
}

TEST_CASE("a callable that cannot be copied is held, and given its arguments unchanged") {
  auto seven = std::make_unique<int>(7);
  const Function<int(std::unique_ptr<int>)> function =
      [seven = std::move(seven)](std::unique_ptr<int> other) { return *seven + *other; };
  CHECK(function(std::make_unique<int>(3)) == 10);
}

TEST_CASE("a function keeps its state between calls, in place and on the heap") {
  const Function<int()> small = [count = 0]() mutable { return ++count; };
  small();
  CHECK(small() == 2);
  struct Large {
    int count = 0;
    char filling[100] = {};
    int operator()() { return ++count; }
  };
  const Function<int()> large = Large();
  large();
  CHECK(large() == 2);
}

TEST_CASE("a moved function leaves an empty one, and what it holds is destroyed once") {
  const Shared held = std::make_shared<int>(1);
  {
    Function<int()> first = [held] { return *held; };
    CHECK(held.use_count() == 2);
    Function<int()> second = std::move(first);
    CHECK_FALSE(first);  // NOLINT: what is promised
    CHECK(held.use_count() == 2);
    CHECK(second() == 1);
    first = std::move(second);
    CHECK(first() == 1);
  }
  CHECK(held.use_count() == 1);
}

TEST_CASE("what a function held is destroyed when it already holds the new") {
  struct Holder {
    Function<int()> function;
  };
  Holder holder;
  int seen = 0;
  struct OnDestruction {
    Holder* holder;
    int* seen;
    explicit OnDestruction(Holder* h, int* s) : holder(h), seen(s) {}
    OnDestruction(OnDestruction&& other) noexcept
        : holder(std::exchange(other.holder, nullptr)), seen(other.seen) {}
    ~OnDestruction() {
      if (holder) *seen = holder->function();
    }
    int operator()() const { return 1; }
  };
  holder.function = OnDestruction(&holder, &seen);
  holder.function = [] { return 2; };
  CHECK(seen == 2);
}
