/*
 * VLAN tags of frames from packet sockets: the kernel takes the outermost one out of a frame before it hands it up, and tells it
 * beside the frame (packet(7), PACKET_AUXDATA). Here it is put back where it was.
 */
#ifndef OVS_ESPD_VLAN_H
#define OVS_ESPD_VLAN_H

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* Bytes of a tag: TPID and TCI, behind both addresses. */
#define VLAN_TAG 4
#define VNET_HEADER ((int64_t)sizeof(struct virtio_net_hdr))

union auxiliary {
  struct cmsghdr align;
  uint8_t bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
};

/* What the header says of places in the frame is of the frame without its tag. */
static inline void move_places(uint8_t *start) {
  struct virtio_net_hdr header;
  memcpy(&header, start, sizeof header);
  if ((header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) header.csum_start += VLAN_TAG;
  if (header.hdr_len != 0) header.hdr_len += VLAN_TAG;
  memcpy(start, &header, sizeof header);
}

/*
 * Puts the tag, if there was one, into the frame of `length` bytes at `start`, whose Ethernet header begins `ethernet` bytes
 * on and behind which VLAN_TAG bytes are free. Gives the bytes by which it has grown.
 */
static inline size_t put_tag_back(uint8_t *start, size_t length, size_t ethernet, struct msghdr *message) {
  size_t at = ethernet + 2 * ETH_ALEN;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
    struct tpacket_auxdata told;
    if (part->cmsg_level != SOL_PACKET || part->cmsg_type != PACKET_AUXDATA) continue;
    if (part->cmsg_len < CMSG_LEN(sizeof told) || length < at) return 0;
    memcpy(&told, CMSG_DATA(part), sizeof told);
    if ((told.tp_status & TP_STATUS_VLAN_VALID) == 0) return 0;
    uint16_t tpid = (told.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? told.tp_vlan_tpid : ETH_P_8021Q;
    uint8_t tag[VLAN_TAG] = {(uint8_t)(tpid >> 8), (uint8_t)tpid, (uint8_t)(told.tp_vlan_tci >> 8), (uint8_t)told.tp_vlan_tci};
    memmove(start + at + VLAN_TAG, start + at, length - at);
    memcpy(start + at, tag, VLAN_TAG);
    if (ethernet != 0) move_places(start);
    return VLAN_TAG;
  }
  return 0;
}

#endif
