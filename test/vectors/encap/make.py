# Writes test/vectors/encap/scapy.json
import json
from scapy.all import *
load_contrib('geneve')
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.vxlan import VXLAN
src,dst='192.0.2.1','192.0.2.2'
inner=Ether(dst='02:00:00:00:00:02',src='02:00:00:00:00:01')/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=1000,dport=2000)/Raw(b'tunnel')
inner=Ether(bytes(inner))
def h(p): return bytes(p).hex()
o=IP(src=src,dst=dst,ttl=64,id=0x1234,flags='DF',tos=0)
v=[]
def add(name,type,pkt,**kw): v.append(dict(name=name,type=type,**kw,inner=h(inner),packet=h(IP(bytes(pkt)))))
for cs in (0,1):
  for key in (None,0,0x89abcdef):
    g=GRE(chksum_present=cs,key_present=0 if key is None else 1,key=key,proto=0x6558)
    add('GRE'+(' checksum' if cs else '')+('' if key is None else f' key {key}'),'gre',o/g/inner,key=key,checksum=bool(cs),sourcePort=0,port=0)
for vni in (0,0xabcdef):
  for cs in (0,1):
    u=UDP(sport=40000,dport=4789) if cs else UDP(sport=40000,dport=4789,chksum=0)
    add(f'VXLAN VNI {vni}'+(' checksum' if cs else ''),'vxlan',o/u/VXLAN(flags=8,vni=vni)/inner,key=vni,checksum=bool(cs),sourcePort=40000,port=4789)
    u=UDP(sport=40000,dport=6081) if cs else UDP(sport=40000,dport=6081,chksum=0)
    add(f'Geneve VNI {vni}'+(' checksum' if cs else ''),'geneve',o/u/GENEVE(vni=vni,proto=0x6558)/inner,key=vni,checksum=bool(cs),sourcePort=40000,port=6081)
json.dump(v,open('test/vectors/encap/scapy.json','w'),indent=2)
