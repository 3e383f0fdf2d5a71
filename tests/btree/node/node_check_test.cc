// Proves that check_node finds each kind of damage (one test per rule) and that no bytes at all
// make it, or the views behind it, read outside the page: random and mutated pages in buffers of
// the exact size, meant for ASan and UBSan.
#include "tests/btree/node/chain.hh"

namespace pleach::btree::test {
namespace {

/// A leaf with fences, prefix, garbage and a few records.
std::unique_ptr<test_page> sample(u8 level, u32 size = 4096, u16 format = node_format_slotted) {
  auto p = std::make_unique<test_page>(size);
  format_node(p->writer(), p->ref.addr, 1, 5, p->ref.gen, level, as_bytes("kab"), as_bytes("kz"),
              true, as_bytes("k"), {}, format);
  for (u32 i = 0; i < 20; ++i) {
    char key[8];
    std::snprintf(key, sizeof key, "kb%02u", i);
    if (level)
      insert_child(p->writer(), i, as_bytes(key), {page_addr(10 + i, 4), i});
    else if (format == node_format_slotted_2 && i % 3 == 0)
      insert_at(p->writer(), i, as_bytes(key), KEY_USER_FLAGS, VALUE_CHECKSUM, as_bytes("value"),
                as_bytes("fsums"));
    else
      insert_at(p->writer(), i, as_bytes(key), 0, 0, as_bytes("value"));
  }
  if (level)
    erase_child(p->writer(), 7);
  else
    erase_at(p->writer(), 7);
  DOCTEST_REQUIRE(p->settle() == "");
  return p;
}

node_header& head(test_page& p) {
  return *reinterpret_cast<node_header*>(p.data.data() + node_header_offset);
}
slot& slot_at(test_page& p, u32 i) {
  return *reinterpret_cast<slot*>(p.data.data() + head(p).slot_begin * 4u + i * 4);
}
std::byte* record_at(test_page& p, u32 i) {
  return p.data.data() + slot_at(p, i).offset;
}

void expect(u8 level, const char* reason, const std::function<void(test_page&)>& damage,
            u16 format = node_format_slotted) {
  auto p = sample(level, 4096, format);
  damage(*p);
  const char* why = nullptr;
  DOCTEST_CHECK(check_node(p->data, &why) == errc::corrupt);
  DOCTEST_CHECK(std::string(why ? why : "") == reason);
}

DOCTEST_TEST_CASE("each rule of check_node is checked") {
  const auto leaf = [](const char* r, const std::function<void(test_page&)>& f) {
    expect(0, r, f);
  };
  const auto inner = [](const char* r, const std::function<void(test_page&)>& f) {
    expect(1, r, f);
  };
  const auto header = [](test_page& p) -> page_header& { return header_of(p.data.data()); };
  leaf("page kind", [&](test_page& p) { header(p).kind = 2; });
  leaf("level", [&](test_page& p) { header(p).kind = 4; });
  leaf("level", [&](test_page& p) { header(p).level = 1; });
  inner("level", [&](test_page& p) { header(p).level = 64; });
  leaf("node format", [&](test_page& p) { header(p).format = 9; });
  inner("node format", [&](test_page& p) { header(p).format = 2; });
  inner("node format", [&](test_page& p) { header(p).format = node_format_slotted_2; });
  leaf("record shape", [&](test_page& p) { header(p).format = 2; });
  leaf("page tail", [&](test_page& p) { header(p).tail = 255; });
  leaf("slot area", [](test_page& p) { head(p).slot_begin = 31; });
  leaf("slot area", [](test_page& p) { head(p).count = 2000; });
  leaf("slot area", [](test_page& p) { head(p).heap_begin = 4097; });
  leaf("node flags", [](test_page& p) { head(p).node_flags = 16; });
  leaf("record shape", [](test_page& p) { head(p).key_bytes = 8, head(p).value_bytes = 8; });
  inner("record shape", [](test_page& p) { head(p).key_bytes = 8; });
  inner("record shape", [](test_page& p) { head(p).value_bytes = 8; });
  inner("record shape", [](test_page& p) { head(p).key_bytes = 257, head(p).value_bytes = 8; });
  leaf("low fence", [](test_page& p) { head(p).low_offset = 4095; });
  leaf("low fence", [](test_page& p) { head(p).low_length = 1025; });
  leaf("low fence", [](test_page& p) { head(p).low_length = 0; });
  leaf("high fence", [](test_page& p) { head(p).node_flags = NO_HIGH_FENCE; });
  leaf("high fence", [](test_page& p) { head(p).high_offset = 0; });
  leaf("high fence", [](test_page& p) { head(p).high_offset = u32{head(p).low_offset}; });
  leaf("fence order", [](test_page& p) { p.data[head(p).high_offset] = std::byte{'a'}; });
  leaf("prefix", [](test_page& p) { head(p).prefix_offset = u32{head(p).high_offset}; });
  leaf("record bounds", [](test_page& p) { slot_at(p, 3).offset = 4095; });
  leaf("record bounds", [](test_page& p) { slot_at(p, 3).offset = 130; });
  leaf("record bounds", [](test_page& p) { record_at(p, 3)[3] = std::byte{0xff}; });
  leaf("overlapping records",
       [](test_page& p) { slot_at(p, 3).offset = u16{slot_at(p, 2).offset}; });
  leaf("slot head", [](test_page& p) { slot_at(p, 3).head = 0x6230 + 1; });
  leaf("key flags", [](test_page& p) { record_at(p, 3)[0] = std::byte{1}; });
  leaf("value flags", [](test_page& p) { record_at(p, 3)[1] = std::byte{16}; });
  leaf("value reference length", [](test_page& p) { record_at(p, 3)[1] = std::byte{1}; });
  leaf("value length", [](test_page& p) { record_at(p, 3)[1] = std::byte{VALUE_EXPIRY}; });
  leaf("key order", [](test_page& p) { std::swap(slot_at(p, 3), slot_at(p, 4)); });
  leaf("key order", [](test_page& p) { record_at(p, 3)[6] = std::byte{'1'}; });
  leaf("key below the low fence",
       [](test_page& p) { p.data[head(p).low_offset + 1] = std::byte{'c'}; });
  leaf("key above the high fence",
       [](test_page& p) { p.data[head(p).high_offset + 1] = std::byte{'b'}; });
  leaf("garbage does not add up", [](test_page& p) { head(p).garbage = head(p).garbage - 1; });
  leaf("garbage does not add up", [](test_page& p) { head(p).count = head(p).count - 1; });
  inner("inner node without children", [](test_page& p) { head(p).count = 0; });
  inner("child address", [](test_page& p) { std::memset(record_at(p, 3) + 7, 0, 8); });
  inner("first key of an inner node", [](test_page& p) {
    head(p).slot_begin = head(p).slot_begin + 1;
    head(p).count = head(p).count - 1;
  });
}

DOCTEST_TEST_CASE("each rule of records of the second version is checked") {
  // Records 0, 3, 6... have attachments: a byte of user flags and a checksum of the value.
  const auto leaf = [](const char* r, const std::function<void(test_page&)>& f) {
    expect(0, r, f, node_format_slotted_2);
  };
  leaf("key flags", [](test_page& p) { record_at(p, 1)[0] = std::byte{1}; });
  leaf("key flags", [](test_page& p) { record_at(p, 1)[0] = std::byte{8}; });
  leaf("value reference length",
       [](test_page& p) { record_at(p, 1)[0] = std::byte{VALUE_INDIRECT << 4}; });
  leaf("value reference length", [](test_page& p) {
    record_at(p, 0)[0] =
        static_cast<std::byte>(KEY_USER_FLAGS | (VALUE_INDIRECT | VALUE_CHECKSUM) << 4);
  });
  leaf("value length", [](test_page& p) {  // 5 bytes of value do not hold two sums
    record_at(p, 1)[0] = static_cast<std::byte>(KEY_CHECKSUM | VALUE_CHECKSUM << 4);
  });
  leaf("value length", [](test_page& p) { record_at(p, 1)[0] = std::byte{VALUE_EXPIRY << 4}; });
  leaf("record bounds", [](test_page& p) { record_at(p, 3)[2] = std::byte{0xff}; });
  leaf("record bounds", [](test_page& p) { slot_at(p, 3).offset = 4095; });
}

DOCTEST_TEST_CASE("page sizes that no address can name") {
  auto p = sample(0, 8192);
  DOCTEST_CHECK(check_node(cbytes(p->data).first(8191)) == errc::corrupt);
  DOCTEST_CHECK(check_node({}) == errc::corrupt);
}

/// Reads everything through the views.
u64 read_all(cbytes page, random_stream& r) {
  const node_view n(page_reader(page.data(), static_cast<u32>(page.size())));
  u64 sum = n.used_bytes() + n.free_bytes() + n.covers(as_bytes("kb")) + n.right_hint().gen;
  std::byte key[max_stored_key_bytes];
  for (u32 i = 0; i < n.count(); ++i) {
    const u32 length = n.copy_key(i, key);
    sum += n.find({key, length}).index + hash64(n.at(i).value) + hash64(n.at(i).attached);
    if (!n.is_leaf()) sum += n.child(i).addr.raw + n.find_child({key, length});
  }
  for (int i = 0; i < 3; ++i) sum += n.find(as_bytes(random_key(r, 6, 30))).index;
  return sum;
}

DOCTEST_TEST_CASE("mutated and random pages never lead a read out of the page") {
  random_stream r(77);
  std::vector<std::unique_ptr<test_page>> seeds;
  seeds.push_back(sample(0, 4096, node_format_slotted_2));
  seeds.push_back(sample(0, 131072, node_format_slotted_2));
  for (u8 level : {0, 1}) {
    seeds.push_back(sample(level));
    seeds.push_back(sample(level, 16384));
    seeds.push_back(sample(level, 131072));
    seeds.push_back(sample(level, 12288));
  }
  u64 sum = 0, passed = 0;
  for (u32 round = 0; round < 60000; ++round) {
    test_page& p = *seeds[r.below(seeds.size())];
    if (p.size() > 65536 && !r.chance(100)) continue;
    // A heap block of the exact size, so that ASan sees the first byte outside.
    std::unique_ptr<std::byte[]> copy(new std::byte[p.size()]);
    std::memcpy(copy.get(), p.data.data(), p.size());
    const u32 heap = head(p).heap_begin, slots_at = head(p).slot_begin * 4u;
    for (u64 n = 1 + r.below(4); n > 0; --n) {
      u32 at = 0;
      switch (r.below(5)) {
        case 0:
          at = static_cast<u32>(r.below(64));
          break;
        case 1:
          at = 64 + static_cast<u32>(r.below(32));
          break;
        case 2:
          at = slots_at + static_cast<u32>(r.below(80));
          break;
        default:
          at = heap + static_cast<u32>(r.below(p.size() - heap));
          break;
      }
      const u64 kind = r.below(4);
      std::byte& b = copy[at];
      if (kind == 0) b = static_cast<std::byte>(r.next());
      if (kind == 1) b ^= static_cast<std::byte>(1u << r.below(8));
      if (kind == 2) b = static_cast<std::byte>(static_cast<u32>(b) + (r.chance(500) ? 1 : 255));
      if (kind == 3) b = r.chance(500) ? std::byte{0} : std::byte{255};
    }
    if (r.chance(20))
      for (u32 i = 56; i < p.size(); ++i) copy[i] = static_cast<std::byte>(r.next());
    const cbytes page{copy.get(), p.size()};
    if (!is_ok(check_node(page))) continue;
    ++passed;
    sum += read_all(page, r);
  }
  DOCTEST_CHECK(passed > 100);  // the mutations are not all trivial to see
  DOCTEST_CHECK(sum != 0);
}

}  // namespace
}  // namespace pleach::btree::test
