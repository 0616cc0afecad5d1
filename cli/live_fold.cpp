#include "cli/live_fold.h"

#include "cli/ranges.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr Nanos kLookEvery = 200 * kMillisecond;  // nobody notices a fifth of a second more
constexpr Nanos kNone = -1;

}  // namespace

LiveFold::LiveFold(Loop& loop, std::shared_ptr<Fold> fold, const FoldTimes* times, Writing writing)
    : loop_(loop),
      fold_(std::move(fold)),
      is_live_(times != nullptr),
      times_(is_live_ ? *times : FoldTimes()),
      writing_(std::move(writing)) {}

LiveFold::Member::Member(LiveFold& live, const std::string& name)
    : live_(live), name_(name), host_(live.fold_->add(name)) {
  live_.members_.insert(this);
}

std::shared_ptr<StreamFormat> LiveFold::Member::stream(bool is_err) {
  return live_.fold_->stream(host_, is_err);
}

void LiveFold::Member::said() {
  if (first_word_ != kNone) return;
  first_word_ = live_.loop_.now();
  live_.spoke_.insert(name_);
  live_.arm();
}

void LiveFold::Member::ended() {
  if (std::exchange(has_ended_, true)) return;
  live_.last_end_ = live_.loop_.now();
  if (live_.first_held_ == kNone) live_.first_held_ = live_.last_end_;
  live_.arm();
}

void LiveFold::succeeded(std::string_view name) {
  if (!spoke_.contains(name)) silent_.emplace_back(name);
}

void LiveFold::failed(std::string_view name, std::string_view phase, std::string_view text) {
  last_end_ = loop_.now();
  if (first_held_ == kNone) first_held_ = last_end_;
  const auto [place, is_new] =
      failure_places_.try_emplace({std::string(phase), std::string(text)}, failures_.size());
  if (is_new) failures_.push_back({std::string(phase), std::string(text), {}});
  failures_[place->second].names.emplace_back(name);
  if (failures_.size() > kFailuresHeldMax) show();
  arm();
}

void LiveFold::show() {
  first_held_ = kNone;
  writing_.source(fold_->groups(std::exchange(silent_, {})));
  failure_places_.clear();
  for (const Failure& failure : std::exchange(failures_, {})) {
    std::string names = fold_names(failure.names);
    if (failure.names.size() > 1) names += cat(" (", failure.names.size(), ")");
    writing_.failure(names, failure.phase, failure.text);
  }
}

void LiveFold::arm() {
  if (!is_live_ || timer_ != 0) return;
  timer_ = loop_.after(kLookEvery, [this] { look(); });
}

void LiveFold::look() {
  timer_ = 0;
  if (is_waiting_) return arm();
  const Nanos now = loop_.now();
  bool is_waiting = false;
  for (Member* member : members_) {
    if (member->first_word_ == kNone || member->has_ended_ || member->is_released_) continue;
    if (now - member->first_word_ < times_.unfinished) {
      is_waiting = true;
      continue;
    }
    member->is_released_ = true;
    writing_.source(fold_->release(member->host_));
  }
  if (first_held_ != kNone && (now - last_end_ >= times_.quiet || now - first_held_ >= times_.held)) show();
  if (is_waiting || first_held_ != kNone) arm();
}

}  // namespace banyan::cli
