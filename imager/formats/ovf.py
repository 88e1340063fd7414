"""The description of a virtual machine with one disk, in OVF 1.1.

Specification: DMTF DSP0243, Open Virtualization Format Specification 1.1.0; the order of elements
is that of its schemas (DSP8023, and CIM's for hardware). Names with `vmw:` are VMware's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from imager.support.units import MIB

_DISK_FORMAT = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
# CIM_ResourceAllocationSettingData: the numbers of ResourceType.
_OTHER, _CPU, _MEMORY, _SCSI, _ETHERNET, _DISK, _GRAPHICS = 1, 3, 4, 6, 10, 17, 24
_NETWORK = "VM Network"
_HARDWARE = "vmx-15"
_LINUX_64 = 101
_ENVELOPE = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:href={href} ovf:id="file1" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte * 2^20" \
ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="{disk_format}"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="{network}">
      <Description>The network of the virtual machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="vm">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
{product}    <OperatingSystemSection ovf:id="{linux}" vmw:osType="other3xLinux64Guest">
      <Info>Operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection ovf:transport="com.vmware.guestInfo">
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{hardware}</vssd:VirtualSystemType>
      </System>
{items}{configs}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""
_PRODUCT = """    <ProductSection ovf:required="false">
      <Info>Settings of the virtual machine</Info>
{properties}    </ProductSection>
"""
_PROPERTY = """      <Property ovf:key={key} ovf:type="string" ovf:userConfigurable="true" \
ovf:value="">
        <Label>{label}</Label>
        <Description>{description}</Description>
      </Property>
"""
_CONFIGS = (
    ("tools.syncTimeWithHost", "false"),
    ("tools.afterPowerOn", "true"),
    ("tools.afterResume", "true"),
    ("tools.beforeGuestShutdown", "true"),
    ("tools.beforeGuestStandby", "true"),
    ("tools.toolsUpgradePolicy", "manual"),
    ("powerOpInfo.suspendType", "soft"),
)
_EFI = ("firmware", "efi")
_NETWORK_CONFIGS = (
    ("slotInfo.pciSlotNumber", "32"),
    ("wakeOnLanEnabled", "false"),
    ("connectable.allowGuestControl", "false"),
)


@dataclass(frozen=True, slots=True)
class Property:
    """A text that the user may set when the machine is imported, and the guest can read."""

    key: str
    label: str
    description: str


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A machine with 2 CPUs, 2 GiB of memory, a disk and a network; with `efi` it boots by EFI."""

    name: str
    properties: tuple[Property, ...] = ()
    efi: bool = False


@dataclass(frozen=True, slots=True)
class DiskFile:
    """The file `href` of `size` bytes, with a disk of `capacity` bytes in it."""

    href: str
    size: int
    capacity: int


def ovf_document(machine: VirtualMachine, disk: DiskFile) -> bytes:
    """Return the OVF of `machine` with `disk`, whose capacity is rounded up to whole MiB."""
    return _ENVELOPE.format(
        href=quoteattr(disk.href),
        size=disk.size,
        capacity=-(-disk.capacity // MIB),
        disk_format=_DISK_FORMAT,
        network=_NETWORK,
        name=escape(machine.name),
        product=_product(machine.properties),
        linux=_LINUX_64,
        hardware=_HARDWARE,
        items="".join(_items()),
        configs="".join(_configs(machine)),
    ).encode()


def _product(properties: Iterable[Property]) -> str:
    texts = [
        _PROPERTY.format(
            key=quoteattr(each.key), label=escape(each.label), description=escape(each.description)
        )
        for each in properties
    ]
    return _PRODUCT.format(properties="".join(texts)) if texts else ""


def _items() -> Iterable[str]:
    """Return the hardware: the fields of an item are in alphabetical order."""
    yield _item(
        AllocationUnits="hertz * 10^6", Description="Number of Virtual CPUs",
        ElementName="2 virtual CPUs", InstanceID=1, ResourceType=_CPU, VirtualQuantity=2,
    )  # fmt: skip
    yield _item(
        AllocationUnits="byte * 2^20", Description="Memory Size", ElementName="2048MB of memory",
        InstanceID=2, ResourceType=_MEMORY, VirtualQuantity=2048,
    )  # fmt: skip
    yield _item(
        Address=0, Description="SCSI Controller", ElementName="SCSI Controller 0", InstanceID=3,
        ResourceSubType="VirtualSCSI", ResourceType=_SCSI,
    )  # fmt: skip
    yield _item(
        AddressOnParent=0, ElementName="Hard Disk 1", HostResource="ovf:/disk/vmdisk1",
        InstanceID=4, Parent=3, ResourceType=_DISK,
    )  # fmt: skip
    yield _item(
        "".join(_config(key, value, indent=8) for key, value in _NETWORK_CONFIGS),
        AddressOnParent=2, AutomaticAllocation="true", Connection=_NETWORK,
        Description=f'VmxNet3 ethernet adapter on "{_NETWORK}"', ElementName="Ethernet 1",
        InstanceID=5, ResourceSubType="VmxNet3", ResourceType=_ETHERNET,
    )  # fmt: skip
    yield _item(
        required=False, AutomaticAllocation="false", ElementName="Video Card", InstanceID=6,
        ResourceType=_GRAPHICS,
    )  # fmt: skip
    yield _item(
        required=False, AutomaticAllocation="false", ElementName="VMCI Device", InstanceID=7,
        ResourceSubType="vmware.vmci", ResourceType=_OTHER,
    )  # fmt: skip


def _item(configs: str = "", *, required: bool = True, **fields: str | int) -> str:
    lines = "".join(
        f"        <rasd:{name}>{escape(str(value))}</rasd:{name}>\n"
        for name, value in fields.items()
    )
    attribute = "" if required else ' ovf:required="false"'
    return f"      <Item{attribute}>\n{lines}{configs}      </Item>\n"


def _configs(machine: VirtualMachine) -> Iterable[str]:
    for key, value in (*((_EFI,) if machine.efi else ()), *_CONFIGS):
        yield _config(key, value, indent=6)
    # The UUID is what VMware's storage plugin for Kubernetes finds disks by.
    for key, value in (("nvram", f"{machine.name}.nvram"), ("disk.EnableUUID", "true")):
        yield _config(key, value, indent=6, element="ExtraConfig")


def _config(key: str, value: str, *, indent: int, element: str = "Config") -> str:
    return (
        f'{" " * indent}<vmw:{element} ovf:required="false"'
        f" vmw:key={quoteattr(key)} vmw:value={quoteattr(value)}/>\n"
    )
