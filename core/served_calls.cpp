#include "core/served_calls.h"

#include <list>
#include <utility>

namespace banyan {

namespace {

constexpr std::uint32_t kLinkShare = 4;   // one link may have a quarter of all calls
constexpr std::uint32_t kEarlyMax = 256;  // of one link: as many cancels can overtake as calls are in flight

}  // namespace

ServedCalls::Verdict ServedCalls::begin(std::uint32_t link, const Header& call) {
  const Key key = key_of(call.source, call.reply_to);
  if (calls_.contains(key)) return Verdict::kTwice;
  const auto early = early_.find(key);
  if (early != early_.end()) {
    erase_early(early);
    return Verdict::kCancelled;
  }
  Share& share = shares_[link];
  const bool is_ours = link == 0;
  if (calls_.size() >= max_ || (!is_ours && share.calls >= max_ / kLinkShare)) return Verdict::kFull;
  ++share.calls;
  calls_[key].link = link;
  return Verdict::kBegins;
}

void ServedCalls::on_cancel(const Header& call, Function<void()> act) {
  const auto found = calls_.find(key_of(call.source, call.reply_to));
  if (found != calls_.end()) found->second.act = std::move(act);
}

Handle ServedCalls::finish(const Header& call) {
  const auto found = calls_.find(key_of(call.source, call.reply_to));
  if (found == calls_.end()) return kNoReply;
  const Handle acknowledge_to = found->second.acknowledge_to;
  erase(found);
  return acknowledge_to;
}

void ServedCalls::cancel(std::uint32_t link, ContextId source, Handle call) {
  const Key key = key_of(source, call);
  const auto found = calls_.find(key);
  if (found == calls_.end()) {
    if (shares_[link].early >= kEarlyMax || !early_.emplace(key, link).second) return;
    ++shares_[link].early;
    return;
  }
  // Taken out first: what it does may finish the call.
  const Function<void()> act = std::exchange(found->second.act, nullptr);
  if (act) act();
}

bool ServedCalls::cancel_in_order(ContextId source, Handle call, Handle acknowledge_to) {
  const Key key = key_of(source, call);
  if (const auto early = early_.find(key); early != early_.end()) erase_early(early);
  const auto found = calls_.find(key);
  if (found == calls_.end()) return true;
  if (acknowledge_to != kNoReply) found->second.acknowledge_to = acknowledge_to;
  const Function<void()> act = std::exchange(found->second.act, nullptr);
  if (act) act();
  return false;
}

void ServedCalls::forget(const Function<bool(ContextId)>& is_gone) {
  for (auto at = early_.begin(); at != early_.end();) {
    const auto here = at++;
    if (is_gone(here->first.source)) erase_early(here);
  }
  // What is done for one may finish another: first out of the table, then told.
  std::list<Function<void()>> acts;
  for (auto at = calls_.begin(); at != calls_.end();) {
    const auto here = at++;
    if (!is_gone(here->first.source)) continue;
    if (here->second.act) acts.push_back(std::move(here->second.act));
    erase(here);
  }
  for (const Function<void()>& act : acts) act();
}

void ServedCalls::disown(const Function<bool(ContextId)>& is_gone) {
  for (auto& [key, call] : calls_)
    if (is_gone(key.source)) call.act = nullptr;
}

void ServedCalls::erase(Table<Key, Call>::Iterator call) {
  --shares_[call->second.link].calls;
  calls_.erase(call);
}

void ServedCalls::erase_early(Table<Key, std::uint32_t>::Iterator early) {
  --shares_[early->second].early;
  early_.erase(early);
}

}  // namespace banyan
