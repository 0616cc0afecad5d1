// parent/api/asio_loop.h -- the Loop of a program that has an io_context of its own: ours runs inside it.
//
// Descriptors stay in an epoll of ours, and Asio waits for that one descriptor. So the semantics are
// EpollLoop's to the letter; level-triggered watches cost no call to re-arm; and no O_NONBLOCK is set on
// descriptors that others share, as Asio would. The price is a second epoll_wait in each round that begins
// with a descriptor.
//
// Thread: the one that runs the io_context, of which there must be only one; post() from any. The io_context
// outlives the loop, and has work to do as long as the loop exists. Tasks and watchers do not throw.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>

#include "core/epoll_loop.h"

namespace banyan {

class AsioLoop final : public EpollLoop {
 public:
  explicit AsioLoop(boost::asio::io_context& context);
  ~AsioLoop() override;

  void post(Task task) override;
  TimerId after(Nanos delay, Task task) override;
  WatchId watch(int fd, Interest interest, OnReady on_ready) override;
  void change(WatchId watch, Interest interest) override;

 private:
  // The io_context's business.
  using EpollLoop::run;
  using EpollLoop::run_once;
  using EpollLoop::stop;

  void wait_for_descriptors();
  void arm_timer();
  void schedule_round();
  void run_round(bool descriptors);

  boost::asio::io_context& context_;
  boost::asio::posix::stream_descriptor descriptor_;
  boost::asio::steady_timer timer_;
  Nanos armed_for_ = 0;  // 0: the timer is not running
  bool in_round_ = false;
  std::atomic<bool> is_scheduled_ = false;  // a round is on its way through the io_context
  std::shared_ptr<AsioLoop*> self_ = std::make_shared<AsioLoop*>(this);  // for handlers that come too late
};

}  // namespace banyan
