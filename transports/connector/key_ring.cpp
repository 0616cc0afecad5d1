#include "transports/connector/key_ring.h"

#include <algorithm>
#include <utility>

#include "transports/connector/thread.h"

namespace banyan::connector {
namespace {

Result<KeyRing::Key> open_key(const std::string& path, const Secret& passphrase) {
  const Result<Secret> text = read_private_key(path);
  if (!text) return text.error();
  Result<PrivateKey> key = parse_private_key(text->bytes(), path, passphrase.text());
  if (!key) return key.error();
  return KeyRing::Key(std::make_shared<const PrivateKey>(std::move(*key)));
}

}  // namespace

KeyRing::~KeyRing() {
  *alive_ = false;
  if (thread_.joinable()) thread_.join();
}

KeyRing::Key KeyRing::find(const std::string& path) const {
  const auto found = keys_.find(path);
  return found == keys_.end() ? nullptr : found->second;
}

void KeyRing::open(const std::string& path, Secret passphrase, OnOpened on_opened) {
  const auto same = std::ranges::find_if(jobs_, [&](const Job& job) {
    return job.path == path && std::ranges::equal(job.passphrase.bytes(), passphrase.bytes());
  });
  if (same != jobs_.end()) return same->waiting.push_back(std::move(on_opened));
  Job& job = jobs_.emplace_back();
  job.path = path;
  job.passphrase = std::move(passphrase);
  job.waiting.push_back(std::move(on_opened));
  if (jobs_.size() == 1) start_next();
}

// The first job stays where it is meanwhile: a deque does not move it when others come behind.
void KeyRing::start_next() {
  if (jobs_.empty()) return;
  if (Key known = find(jobs_.front().path)) {
    loop_.post([this, alive = alive_, known] {
      if (*alive) on_done(known);
    });
    return;
  }
  // No copy of Alive in the thread: it is the loop's.
  auto posted = std::make_shared<Loop::Task>();
  auto result = std::make_shared<Result<Key>>(Key());
  *posted = [this, alive = alive_, result] {
    if (!*alive) return;
    if (thread_.joinable()) thread_.join();
    on_done(std::move(*result));
  };
  const Job& job = jobs_.front();
  const auto work = [loop = &loop_, &job, posted, result] {
    *result = open_key(job.path, job.passphrase);
    loop->post(std::move(*posted));
  };
  if (Result<std::thread> thread = start_thread(work, Phase::kAuth)) {
    thread_ = std::move(*thread);
  } else {
    *result = thread.error();
    loop_.post(std::move(*posted));
  }
}

void KeyRing::on_done(Result<Key> key) {
  Job job = std::move(jobs_.front());
  jobs_.pop_front();
  if (key) keys_[job.path] = *key;
  const Alive alive = alive_;
  start_next();
  for (const OnOpened& on_opened : job.waiting)
    if (*alive) on_opened(key);
}

}  // namespace banyan::connector
