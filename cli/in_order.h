// cli/in_order.h -- texts that come in any order, and leave in that of their numbers.
//
// Pure. What comes before its turn is held. What would be more than may be held is not: then all of it
// leaves, and those that it overtook follow as they come.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace banyan::cli {

class InOrder {
 public:
  // `held_max`: bytes.
  explicit InOrder(std::size_t held_max) : held_max_(held_max) {}

  // Each number once, from 0. What may leave now; empty while others are to come before it.
  std::string add(std::size_t number, std::string text);
  // All that is held.
  std::string rest();

 private:
  const std::size_t held_max_;
  std::map<std::size_t, std::string> held_;
  std::size_t held_bytes_ = 0;
  std::size_t next_ = 0;  // all before it have left, or may leave when they come
};

}  // namespace banyan::cli
