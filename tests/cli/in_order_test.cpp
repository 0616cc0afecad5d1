// Goal: texts leave in the order of their numbers, as soon as they may, and what is held is bounded.
// Method: texts are added in many orders; what leaves at each step is compared.
#include "cli/in_order.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

using banyan::cli::InOrder;

TEST_CASE("what comes in its turn leaves at once, and what comes early waits for those before it") {
  InOrder order(100);
  CHECK(order.add(0, "a") == "a");
  CHECK(order.add(2, "c") == "");
  CHECK(order.add(3, "d") == "");
  CHECK(order.add(1, "b") == "bcd");
  CHECK(order.add(4, "e") == "e");
}

TEST_CASE("in whatever order they come, they leave in that of their numbers") {
  std::vector<std::size_t> numbers = {0, 1, 2, 3, 4, 5};
  do {
    InOrder order(100);
    std::string said;
    for (std::size_t number : numbers) said += order.add(number, std::to_string(number));
    CAPTURE(numbers);
    CHECK(said == "012345");
  } while (std::ranges::next_permutation(numbers).found);
}

TEST_CASE("what would be too much to hold leaves, and who was overtaken follows as he comes") {
  InOrder order(4);
  CHECK(order.add(1, "bb") == "");
  CHECK(order.add(4, "ee") == "");
  CHECK(order.add(3, "d") == "bbdee");
  CHECK(order.add(2, "c") == "c");
  CHECK(order.add(6, "g") == "");
  CHECK(order.add(0, "a") == "a");
  CHECK(order.add(5, "f") == "fg");
}

TEST_CASE("in the end all that is held leaves, without those that never came") {
  InOrder order(100);
  CHECK(order.add(3, "d") == "");
  CHECK(order.add(1, "b") == "");
  CHECK(order.rest() == "bd");
  CHECK(order.rest() == "");
  CHECK(order.add(0, "a") == "a");
}
