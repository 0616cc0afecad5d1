// Goal: images go down a tree once to each hop, whoever asks; what cannot be had is said, and asked once.
// Method: a root, a hop and one beneath it, routers of this process joined by real sockets; the root's store
// is the test's and counts.

#include "parent/image_service.h"

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/msgpack.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// Has one for "vax", which comes when it is let, and one for "big" that is too large to be handed on.
class Store final : public ImageStore {
 public:
  const Image* find(std::string_view machine, ImageKind kind) const override {
    ++looks;
    if (kind != ImageKind::kHop) return nullptr;
    if (machine == "vax" && has_come) return &image_;
    return machine == "big" ? &big_ : nullptr;
  }
  std::vector<std::string_view> architectures() const override { return {"vax"}; }
  void obtain(std::string_view, ImageKind, Function<void()> done) override {
    if (is_slow) {
      waiting.push_back(std::move(done));
    } else {
      done();
    }
  }
  Result<int> local_image(ImageKind) override { return -1; }

  mutable int looks = 0;
  bool has_come = true, is_slow = false;
  std::vector<Function<void()>> waiting;

 private:
  const Buffer loader_ = Buffer(9'000, 'l'), compressed_ = Buffer(100'000, 'c'),
               large_ = Buffer(kImageBytesMax, 'x');
  const Image image_{"vax", loader_, compressed_, 200'000, 77, ImageKind::kHop};
  const Image big_{"big", loader_, large_, 4'000'000, 78, ImageKind::kHop};
};

// The root has two children, and the first of them, the hop, has one.
struct Tree {
  EpollLoop loop;
  Store store;
  Router root{loop, config_of(0)}, hop{loop, config_of(1, {0})}, leaf{loop, config_of(2, {1, 0})},
      other{loop, config_of(3, {0})};
  std::optional<ImageService> root_service{std::in_place, root, store};
  RemoteImages hop_images, leaf_images, other_images;
  ImageService hop_service{hop, hop_images};

  Tree() {
    join(loop, root, hop);
    join(loop, hop, leaf);
    join(loop, root, other);
    root.grant(1, {2, 1});
    root.add_route(2, 1, 1);
    hop_images.ask(hop);
    leaf_images.ask(leaf);
    other_images.ask(other);
  }
  bool obtain(RemoteImages& images, std::string_view machine, ImageKind kind = ImageKind::kHop) {
    bool done = false;
    images.obtain(machine, kind, [&] { done = true; });
    return run_until(loop, [&] { return done; });
  }
};

}  // namespace

TEST_CASE("an image comes from two levels up as it is there, and is kept on the way") {
  Tree tree;
  CHECK(tree.leaf_images.find("vax", ImageKind::kHop) == nullptr);
  REQUIRE(tree.obtain(tree.leaf_images, "vax"));

  for (const RemoteImages* images : {&tree.leaf_images, &tree.hop_images}) {
    const Image* image = images->find("vax", ImageKind::kHop);
    REQUIRE(image != nullptr);
    CHECK(image->architecture == "vax");
    CHECK(image->id == 77);
    CHECK(image->plain_bytes == 200'000);
    CHECK(image->loader.size() == 9'000);
    CHECK(image->compressed.size() == 100'000);
    CHECK(image->compressed[99'999] == 'c');
    CHECK(images->find("vax", ImageKind::kAgent) == nullptr);
  }
  const int looks = tree.store.looks;
  REQUIRE(tree.obtain(tree.leaf_images, "vax"));
  CHECK(tree.store.looks == looks);
}

TEST_CASE("who asks for an image that is on its way waits for that one") {
  Tree tree;
  tree.store.has_come = false;
  tree.store.is_slow = true;
  int done = 0;
  for (int i = 0; i < 5; ++i) tree.leaf_images.obtain("vax", ImageKind::kHop, [&] { ++done; });
  for (int i = 0; i < 5; ++i) tree.hop_images.obtain("vax", ImageKind::kHop, [&] { ++done; });
  REQUIRE(run_until(tree.loop, [&] { return !tree.store.waiting.empty(); }));
  for (int i = 0; i < 20; ++i) tree.loop.run_once(0);
  CHECK(tree.store.waiting.size() == 1);
  CHECK(done == 0);

  tree.store.has_come = true;
  tree.store.waiting[0]();

  REQUIRE(run_until(tree.loop, [&] { return done == 10; }));
  CHECK(tree.leaf_images.find("vax", ImageKind::kHop) != nullptr);
}

TEST_CASE("that there is no image is known after one question") {
  Tree tree;
  REQUIRE(tree.obtain(tree.leaf_images, "pdp11"));
  CHECK(tree.leaf_images.find("pdp11", ImageKind::kHop) == nullptr);
  const int looks = tree.store.looks;

  REQUIRE(tree.obtain(tree.leaf_images, "pdp11"));
  REQUIRE(tree.obtain(tree.hop_images, "pdp11"));

  CHECK(tree.store.looks == looks);
}

TEST_CASE("an image larger than a hop keeps, and a machine with an endless name, are not had") {
  Tree tree;
  REQUIRE(tree.obtain(tree.hop_images, "big"));
  CHECK(tree.hop_images.find("big", ImageKind::kHop) == nullptr);
  const int looks = tree.store.looks;
  REQUIRE(tree.obtain(tree.hop_images, std::string(kArchitectureNameMax + 1, 'x')));
  CHECK(tree.store.looks == looks);
}

TEST_CASE("whoever asks for machines that he invented takes no place from those there are") {
  Tree tree;
  for (std::size_t i = 0; i < 2 * kImagesHeldMax; ++i)
    REQUIRE(tree.obtain(tree.leaf_images, "machine" + std::to_string(i)));

  REQUIRE(tree.obtain(tree.leaf_images, "vax"));

  CHECK(tree.leaf_images.find("vax", ImageKind::kHop) != nullptr);
  CHECK(tree.hop_images.find("vax", ImageKind::kHop) != nullptr);
}

TEST_CASE("no more is asked for at a time than could be kept, and of a parent no more than it allows") {
  Tree tree;
  tree.store.is_slow = true;
  std::size_t done = 0;
  for (std::size_t i = 0; i < 2 * kImagesHeldMax; ++i)
    tree.hop_images.obtain("machine" + std::to_string(i), ImageKind::kHop, [&] { ++done; });

  CHECK(done == kImagesHeldMax);
  REQUIRE(run_until(tree.loop, [&] { return done == 2 * kImagesHeldMax - kImagesOfChildMax; }));
  CHECK(tree.store.waiting.size() == kImagesOfChildMax);
}

TEST_CASE("a parent that gives no answer is no reason to believe that there is no image") {
  Tree tree;
  tree.store.is_slow = true;
  bool done = false;
  tree.hop_images.obtain("pdp11", ImageKind::kHop, [&] { done = true; });
  REQUIRE(run_until(tree.loop, [&] { return tree.store.waiting.size() == 1; }));
  tree.root.drop_child(1, Error{ErrorClass::kLost, Phase::kLink, "gone", {}});
  REQUIRE(run_until(tree.loop, [&] { return done; }));
  tree.store.waiting[0]();

  done = false;
  tree.hop_images.obtain("pdp11", ImageKind::kHop, [&] { done = true; });
  CHECK_FALSE(done);  // it is asked for anew
  REQUIRE(run_until(tree.loop, [&] { return done; }));
}

TEST_CASE("only children are given images") {
  Tree tree;
  std::string text;
  tree.leaf.call(0, kGetImage, ImageRequest{"vax", ImageKind::kHop}.encode(),
                 [&](const Reply& reply) { text = reply.dead != nullptr ? reply.dead->text : "given"; });
  REQUIRE(run_until(tree.loop, [&] { return !text.empty(); }));
  CHECK(text == "images are for children; ask your parent");
}

TEST_CASE("a child that asks for more than it takes is refused the rest, and costs eight images at most") {
  Tree tree;
  int given = 0, busy = 0;
  for (int i = 0; i < 200; ++i)
    tree.hop.call(0, kGetImage, ImageRequest{"vax", ImageKind::kHop}.encode(), [&](const Reply& reply) {
      ++(reply.dead == nullptr ? given : busy);
      CHECK((reply.dead == nullptr || reply.dead->reason == DeadReason::kBusy));
    });
  REQUIRE(run_until(tree.loop, [&] { return given + busy == 200; }));
  CHECK(given >= int(kImagesOfChildMax));
  CHECK(busy > 100);
}

TEST_CASE("a child that waits for as much as it may keeps nobody else from waiting, or from what is there") {
  Tree tree;
  tree.store.has_come = false;
  tree.store.is_slow = true;
  int busy = 0;
  for (int i = 0; i < 100; ++i)
    tree.hop.call(0, kGetImage, ImageRequest{"invented" + std::to_string(i), ImageKind::kHop}.encode(),
                  [&](const Reply& reply) { busy += reply.dead != nullptr; });
  bool done = false;
  REQUIRE(run_until(tree.loop, [&] { return busy == 100 - int(kImagesOfChildMax); }));
  tree.other_images.obtain("vax", ImageKind::kHop, [&] { done = true; });
  REQUIRE(run_until(tree.loop, [&] { return tree.store.waiting.size() == kImagesOfChildMax + 1; }));

  tree.store.has_come = true;
  tree.store.waiting.back()();

  REQUIRE(run_until(tree.loop, [&] { return done; }));
  CHECK(tree.other_images.find("vax", ImageKind::kHop) != nullptr);
}

TEST_CASE("an image that comes when the one who asked is gone, or the one who was asked, is thrown away") {
  Tree tree;
  tree.store.has_come = false;
  tree.store.is_slow = true;
  bool done = false;
  auto asks = std::make_unique<RemoteImages>();
  asks->ask(tree.leaf);
  asks->obtain("vax", ImageKind::kHop, [&] { done = true; });
  REQUIRE(run_until(tree.loop, [&] { return tree.store.waiting.size() == 1; }));

  asks.reset();
  tree.store.has_come = true;
  tree.store.waiting[0]();
  for (int i = 0; i < 50; ++i) tree.loop.run_once(kMillisecond);
  CHECK_FALSE(done);

  tree.store.has_come = false;
  tree.other_images.obtain("vax", ImageKind::kHop, [] {});
  REQUIRE(run_until(tree.loop, [&] { return tree.store.waiting.size() == 2; }));
  tree.root_service.reset();
  tree.store.waiting[1]();
  for (int i = 0; i < 50; ++i) tree.loop.run_once(kMillisecond);
}

TEST_CASE("a request for an image that does not parse is refused") {
  Tree tree;
  for (const Buffer& request :
       {Buffer(), Buffer{0x93, 1, 2, 3}, ImageRequest{std::string(65, 'a'), ImageKind::kHop}.encode(),
        Packer().array(2).bytes(as_bytes("vax")).number(kImageKindCount).take()}) {
    std::string text;
    tree.hop.call(0, kGetImage, request, [&](const Reply& reply) {
      text = reply.dead != nullptr && reply.dead->reason == DeadReason::kRefused ? reply.dead->text : "taken";
    });
    REQUIRE(run_until(tree.loop, [&] { return !text.empty(); }));
    CHECK(text == "a request for an image that does not parse");
  }
}
