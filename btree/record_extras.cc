#include "btree/record_extras.hh"

#include "be/base/checksum.hh"

namespace pleach::btree {

namespace {

u32 key_sum(const tree& t, cbytes key) {
  return static_cast<u32>(hash64(key, t.id));
}
u32 value_sum(const tree& t, cbytes value, u8 user_flags) {
  return static_cast<u32>(hash64(value, t.id ^ u64{user_flags} << 56));
}

bool has_user_flags(const record& r) {
  return (r.key_flags & KEY_USER_FLAGS) != 0 && !r.attached.empty();
}

}  // namespace

record_extras make_extras(const tree& t, cbytes key, cbytes value, u8 user_flags) {
  record_extras x;
  if (user_flags != 0) {
    x.key_flags |= KEY_USER_FLAGS;
    x.bytes[x.size++] = static_cast<std::byte>(user_flags);
  }
  auto add = [&](u32 sum) {
    store_le<u32>(x.bytes + x.size, sum);
    x.size += record_sum_bytes;
  };
  if (t.key_sums) {
    x.key_flags |= KEY_CHECKSUM;
    add(key_sum(t, key));
  }
  if (t.value_sums) {
    x.value_flags |= VALUE_CHECKSUM;
    add(value_sum(t, value, user_flags));
  }
  return x;
}

u8 user_flags_of(const record& r) {
  return has_user_flags(r) ? static_cast<u8>(r.attached[0]) : u8{0};
}

bool sums_agree(const tree& t, cbytes key, const record& r) {
  const bool of_key = (r.key_flags & KEY_CHECKSUM) != 0;
  const bool of_value = (r.value_flags & VALUE_CHECKSUM) != 0;
  if ((t.key_sums && !of_key) || (t.value_sums && !of_value)) return false;
  const std::byte* sum = r.attached.data() + (has_user_flags(r) ? 1 : 0);
  if (of_key) {
    if (load_le<u32>(sum) != key_sum(t, key)) return false;
    sum += record_sum_bytes;
  }
  return !of_value || load_le<u32>(sum) == value_sum(t, r.value, user_flags_of(r));
}

bool record_sound(const tree& t, const node_view& leaf, u32 index) {
  if (!t.key_sums && !t.value_sums) [[likely]]
    return true;
  std::byte key[max_stored_key_bytes];
  const u32 length = leaf.copy_key(index, key);
  return sums_agree(t, {key, length}, leaf.at(index));
}

}  // namespace pleach::btree
