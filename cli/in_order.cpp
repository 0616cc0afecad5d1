#include "cli/in_order.h"

#include <utility>

namespace banyan::cli {

std::string InOrder::add(std::size_t number, std::string text) {
  if (number < next_) return text;
  held_bytes_ += text.size();
  held_.emplace(number, std::move(text));
  if (held_bytes_ > held_max_) return rest();
  std::string now;
  for (auto first = held_.begin(); first != held_.end() && first->first == next_; first = held_.begin()) {
    now += first->second;
    held_bytes_ -= first->second.size();
    held_.erase(first);
    ++next_;
  }
  return now;
}

std::string InOrder::rest() {
  std::string all;
  for (const auto& [number, text] : held_) {
    all += text;
    next_ = number + 1;
  }
  held_.clear();
  held_bytes_ = 0;
  return all;
}

}  // namespace banyan::cli
