#include "cli/pause.h"

#include <utility>
#include <vector>

namespace banyan::cli {
namespace {

constexpr Nanos kMoment = 300 * kMillisecond;  // a person who typed Ctrl-Z waits for the prompt
constexpr Nanos kLookEvery = 5 * kMillisecond;

Header hold_header() {
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.handle = kHold;
  return header;
}

}  // namespace

void Pause::begin() {
  if (std::exchange(is_begun_, true)) return;
  line_is_gone_ = false;
  until_ = loop_.now() + kMoment;
  output_.hide_progress([this] { line_is_gone_ = true; });
  go_on();
}

void Pause::go_on() {
  timer_ = 0;
  const bool written = flush(false);
  if ((!written || !line_is_gone_) && loop_.now() < until_) {
    timer_ = loop_.after(kLookEvery, [this] { go_on(); });
    return;
  }
  flush(true);
  terminal_.stop_here();
  is_begun_ = false;
  output_.show_progress();
  on_continued_();
}

// True when nothing waits to be written on any link. `hold`: after the last frame of each comes HOLD; any
// frame after that would end it, so nothing may run between this and the stop.
bool Pause::flush(bool hold) {
  std::vector<ContextId> children;
  router_.for_each_child([&](ContextId child, Link&) { children.push_back(child); });
  bool written = true;
  for (ContextId child : children) {
    Link* link = router_.link_to(child);  // one may break while another is written
    if (link == nullptr || !link->is_open()) continue;
    if (hold) link->send_control(hold_header());
    link->flush();
    link = router_.link_to(child);
    written = written && (link == nullptr || !link->is_open() || !link->has_unsent());
  }
  return written;
}

}  // namespace banyan::cli
