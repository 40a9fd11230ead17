"""Collections of iTunes and rekordbox: files as these programs write them, and plistlib and ElementTree as oracles."""

import io
import plistlib
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.playlists import Entry, Reject, detect
from reprise.lib.playlists.collections import read_itunes, read_rekordbox

ITUNES = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Major Version</key><integer>1</integer>
	<key>Application Version</key><string>12.9.5.5</string>
	<key>Date</key><date>2021-03-22T16:55:00Z</date>
	<key>Music Folder</key><string>file://localhost/C:/Users/ann/Music/iTunes/iTunes%20Media/</string>
	<key>Tracks</key>
	<dict>
		<key>35</key>
		<dict>
			<key>Track ID</key><integer>35</integer>
			<key>Name</key><string>Jóga</string>
			<key>Artist</key><string>Björk</string>
			<key>Album</key><string>Homogenic &#38; more</string>
			<key>Total Time</key><integer>305120</integer>
			<key>Play Count</key><integer>17</integer>
			<key>Play Date</key><integer>3699281700</integer>
			<key>Compilation</key><true/>
			<key>Location</key><string>file://localhost/C:/Users/ann/Music/Bj%C3%B6rk/02%20J%C3%B3ga.m4a</string>
		</dict>
		<key>36</key>
		<dict>
			<key>Track ID</key><integer>36</integer>
			<key>Name</key><string>Only There</string>
			<key>Artist</key><string>X</string>
		</dict>
		<key>37</key>
		<dict>
			<key>Track ID</key><integer>37</integer>
			<key>Name</key><string>Chosen</string>
			<key>Album Artist</key><string>Various</string>
			<key>Track Type</key><string>Remote</string>
		</dict>
		<key>38</key>
		<dict>
			<key>Track ID</key><integer>38</integer>
			<key>Name</key><string>Talk</string>
			<key>Play Count</key><integer>3</integer>
			<key>Podcast</key><true/>
		</dict>
		<key>39</key>
		<dict>
			<key>Track ID</key><integer>39</integer>
			<key>Name</key><string>Odd</string>
			<key>Play Count</key><integer>many</integer>
		</dict>
	</dict>
	<key>Playlists</key>
	<array>
		<dict>
			<key>Name</key><string>Library</string>
			<key>Master</key><true/>
			<key>Visible</key><false/>
			<key>Playlist Items</key>
			<array>
				<dict><key>Track ID</key><integer>35</integer></dict>
				<dict><key>Track ID</key><integer>36</integer></dict>
			</array>
		</dict>
		<dict>
			<key>Name</key><string>90’s Music</string>
			<key>Smart Info</key>
			<data>
			AQEAAwAAAAIAAAAZ
			</data>
			<key>Playlist Items</key>
			<array><dict><key>Track ID</key><integer>36</integer></dict></array>
		</dict>
		<dict>
			<key>Name</key><string>Mine</string>
			<key>All Items</key><true/>
			<key>Playlist Items</key>
			<array>
				<dict>
					<key>Track ID</key><integer>37</integer>
				</dict>
				<dict>
					<key>Track ID</key><integer>999</integer>
				</dict>
			</array>
		</dict>
	</array>
</dict>
</plist>
"""

REKORDBOX = """<?xml version="1.0" encoding="UTF-8"?>

<DJ_PLAYLISTS Version="1.0.0">
  <PRODUCT Name="rekordbox" Version="6.6.4" Company="AlphaTheta"/>
  <COLLECTION Entries="3">
    <TRACK TrackID="253529738" Name="Jóga &amp; co" Artist="Björk" Composer="" Album="Homogenic" Grouping=""
           Genre="Electronic" Kind="MP3 File" Size="8226534" TotalTime="305" DiscNumber="0" TrackNumber="2"
           Year="1997" AverageBpm="98.00" DateAdded="2021-03-22" BitRate="320" SampleRate="44100" Comments=""
           PlayCount="4" Rating="0" Location="file://localhost/Users/ann/Music/Bj%c3%b6rk/J%c3%b3ga.mp3"
           Remixer="" Tonality="Em" Label="" Mix="">
      <TEMPO Inizio="0.025" Bpm="98.00" Metro="4/4" Battito="1"/>
      <POSITION_MARK Name="" Type="0" Start="0.025" Num="-1"/>
    </TRACK>
    <TRACK TrackID="2" Name="By Key" Artist="A" TotalTime="100" PlayCount="0" Location="file://localhost/C:/a.wav"/>
    <TRACK TrackID="3" Name="By Place" Artist="B" TotalTime="0" PlayCount="0" Location="file://localhost/C:/b%20b.wav"/>
    <TRACK TrackID="4" Name="Only There" Artist="C" PlayCount="0" Location="file://localhost/C:/c.wav"/>
  </COLLECTION>
  <PLAYLISTS>
    <NODE Type="0" Name="ROOT" Count="2">
      <NODE Name="Set" Type="1" KeyType="0" Entries="1"><TRACK Key="2"/></NODE>
      <NODE Name="Folder" Type="0" Count="1">
        <NODE Name="Old" Type="1" KeyType="1" Entries="1"><TRACK Key="file://localhost/C:/b%20b.wav"/></NODE>
      </NODE>
    </NODE>
  </PLAYLISTS>
</DJ_PLAYLISTS>
"""


def test_itunes() -> None:
    assert detect("iTunes Music Library.xml", ITUNES.encode()[:500]) is not None
    played = "C:/Users/ann/Music/Björk/02 Jóga.m4a"
    assert list(read_itunes(io.BytesIO(ITUNES.encode()))) == [
        Reject(44, "bad_count", "expected the number of plays as an integer, got 'many'", ""),
        Entry(12, played, "Björk", "Jóga", "Homogenic & more", duration_s=305.12, play_count=17),
        Entry(30, None, "Various", "Chosen"),
    ]


def test_slash_after_itunes_4_locations_is_removed() -> None:
    items = read_itunes(io.BytesIO(ITUNES.replace("J%C3%B3ga.m4a", "J%C3%B3ga.m4a/").encode()))
    assert next(item.path for item in items if isinstance(item, Entry)) == "C:/Users/ann/Music/Björk/02 Jóga.m4a"


def test_truncated_itunes_collection_gives_the_tracks_before_the_break() -> None:
    cut = ITUNES[: ITUNES.index("<key>36</key>")]
    entry, reject = read_itunes(io.BytesIO(cut.encode()))
    assert isinstance(entry, Entry)
    assert (entry.title, entry.play_count) == ("Jóga", 17)
    assert isinstance(reject, Reject)
    assert (reject.kind, reject.line) == ("broken_xml", 23)


def test_property_list_of_another_program_is_rejected() -> None:
    with pytest.raises(InputError, match="expected an iTunes library"):
        list(read_itunes(io.BytesIO(plistlib.dumps({"CFBundleName": "x", "Tracks": []}))))


def test_empty_collection_gives_no_entries() -> None:
    assert list(read_itunes(io.BytesIO(plistlib.dumps({"Tracks": {}, "Playlists": []})))) == []
    assert list(read_rekordbox(io.BytesIO(b"<DJ_PLAYLISTS/>"))) == []


TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
TRACKS = st.lists(st.tuples(TEXT, TEXT, st.integers(0, 2**31 - 1), st.booleans()), max_size=6)


@given(TRACKS)
@settings(max_examples=40, deadline=None)
def test_itunes_collections_of_plistlib(tracks: list[tuple[str, str, int, bool]]) -> None:
    collection: dict[str, Any] = {
        "Tracks": {
            str(number): {
                "Track ID": number,
                "Name": title,
                "Artist": artist,
                **({"Play Count": plays} if plays else {}),
            }
            for number, (artist, title, plays, _) in enumerate(tracks)
        },
        "Playlists": [
            {"Name": "Library", "Master": True, "Playlist Items": [{"Track ID": n} for n in range(len(tracks))]},
            {"Name": "Mine", "Playlist Items": [{"Track ID": n} for n, track in enumerate(tracks) if track[3]]},
        ],
    }
    entries = read_itunes(io.BytesIO(plistlib.dumps(collection, sort_keys=False)))
    got = [(e.artist_name, e.title, e.play_count) for e in entries if isinstance(e, Entry)]
    assert got == [(a, t, plays or 1) for a, t, plays, listed in tracks if plays or listed]


def test_rekordbox() -> None:
    assert list(read_rekordbox(io.BytesIO(REKORDBOX.encode()))) == [
        Entry(6, "/Users/ann/Music/Björk/Jóga.mp3", "Björk", "Jóga & co", "Homogenic", duration_s=305.0, play_count=4),
        Entry(14, "C:/a.wav", "A", "By Key", duration_s=100.0),
        Entry(15, "C:/b b.wav", "B", "By Place"),
    ]


@given(TRACKS)
@settings(max_examples=40, deadline=None)
def test_rekordbox_collections_of_elementtree(tracks: list[tuple[str, str, int, bool]]) -> None:
    root = ElementTree.Element("DJ_PLAYLISTS")
    collection = ElementTree.SubElement(root, "COLLECTION")
    node = ElementTree.SubElement(ElementTree.SubElement(root, "PLAYLISTS"), "NODE", KeyType="0", Type="1")
    for number, (artist, title, plays, listed) in enumerate(tracks):
        fields = {"TrackID": str(number), "Artist": artist, "Name": title, "PlayCount": str(plays)}
        ElementTree.SubElement(collection, "TRACK", fields)
        if listed:
            ElementTree.SubElement(node, "TRACK", Key=str(number))
    entries = read_rekordbox(io.BytesIO(ElementTree.tostring(root, "utf-8", xml_declaration=True)))
    got = [(e.artist_name, e.title, e.play_count) for e in entries if isinstance(e, Entry)]
    assert got == [(a, t, plays or 1) for a, t, plays, listed in tracks if plays or listed]
