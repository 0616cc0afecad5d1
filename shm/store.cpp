#include "shm/store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "shm/process.h"

namespace banyan::shm {
namespace {

constexpr std::size_t kKnownMax =
    1024;  // names remembered; beyond, those no longer in use here are forgotten

Result<Descriptors> open_owners(const Token& token) {
  const Owner& owner = token.identity.owner;
  if (owner.space != own_space())
    return Error{ErrorKind::kGone, "the owner of " + token.identity.name +
                                       " is in another PID namespace: have it pass the descriptors"};
  if (start_of(owner.pid) != owner.start)
    return Error{ErrorKind::kGone, "the owner of " + token.identity.name + " has ended"};
  const std::string folder = "/proc/" + std::to_string(owner.pid) + "/fd/";
  Result<Fd> rows = reopen(folder + std::to_string(token.rows_fd), false);
  if (!rows) return rows.error();
  Result<Fd> page = reopen(folder + std::to_string(token.page_fd), true);
  if (!page) return page.error();
  return Descriptors{std::move(*rows), std::move(*page)};
}

}  // namespace

Token token_of(const Segment& segment) {
  return {segment.identity(), std::uint32_t(segment.rows_fd()), std::uint32_t(segment.page_fd())};
}

Store::~Store() {
  const std::lock_guard lock(mutex_);
  for (auto owned = owned_.rbegin(); owned != owned_.rend(); ++owned) end(*owned);
}

void Store::end(Owned& owned) const {
  // In the child of a fork these are the parent's.
  if (owned.token.identity.owner.pid != std::uint32_t(::getpid())) return;
  names_.withdraw(owned.token);
  owned.segment->end();
}

bool Store::end(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(owned_.begin(), owned_.end(),
                                  [&](const Owned& owned) { return owned.token.identity.name == name; });
  if (found == owned_.end()) return false;
  end(*found);
  known_.erase(found->token.identity.name);
  owned_.erase(found);
  return true;
}

Result<std::shared_ptr<Segment>> Store::create(const std::string& name, const Shape& shape,
                                               const std::string& descriptor, std::uint64_t start) {
  const std::lock_guard lock(mutex_);
  for (const Owned& owned : owned_)
    if (owned.token.identity.name == name) return Error{ErrorKind::kExists, name + " has been made here"};
  Result<std::shared_ptr<Segment>> segment = Segment::create(name, shape, descriptor, start);
  if (!segment) return segment;
  const Token token = token_of(**segment);
  if (Result<Done> published = names_.publish(token); !published) return published.error();
  owned_.push_back({token, *segment});
  known_[name] = {token, {}};
  return segment;
}

std::shared_ptr<Segment> Store::find_known(const Token& token) {
  const auto known = known_.find(token.identity.name);
  if (known == known_.end() || known->second.token != token) return nullptr;
  return known->second.segment.lock();
}

void Store::remember(const Token& token, const std::shared_ptr<Segment>& segment) {
  if (known_.size() >= kKnownMax)
    std::erase_if(known_, [](const auto& entry) { return entry.second.segment.expired(); });
  if (known_.size() < kKnownMax) known_[token.identity.name] = {token, segment};
}

Result<std::shared_ptr<Segment>> Store::attach(const Token& token) {
  const std::lock_guard lock(mutex_);
  if (std::shared_ptr<Segment> known = find_known(token)) return known;
  Result<Descriptors> descriptors = open_owners(token);
  if (!descriptors) return descriptors.error();
  Result<std::shared_ptr<Segment>> segment = Segment::open(std::move(*descriptors), token.identity);
  if (segment) remember(token, *segment);
  return segment;
}

Result<std::shared_ptr<Segment>> Store::attach(const Token& token, Descriptors descriptors) {
  const std::lock_guard lock(mutex_);
  if (std::shared_ptr<Segment> known = find_known(token)) return known;
  Result<std::shared_ptr<Segment>> segment = Segment::open(std::move(descriptors), token.identity);
  if (segment) remember(token, *segment);
  return segment;
}

Result<Token> Store::find(std::string_view name) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = known_.find(name);
    if (known != known_.end() && may_live(known->second.token.identity.owner) &&
        !known->second.segment.expired())
      return known->second.token;
  }
  return names_.find(name);
}

}  // namespace banyan::shm
