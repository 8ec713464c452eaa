package local

import (
	"reflect"
	"time"
)

// zoneHeader tells with every answer in which zone the site's people live.
const zoneHeader = "Flexd-Timezone"

// inZone has every time within a value shown in a zone; the instants stay.
func inZone(v reflect.Value, zone *time.Location) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() && v.Kind() == reflect.Pointer {
			inZone(v.Elem(), zone)
		}
	case reflect.Struct:
		if t, ok := v.Addr().Interface().(*time.Time); ok {
			if !t.IsZero() {
				*t = t.In(zone)
			}
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				inZone(v.Field(i), zone)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			inZone(v.Index(i), zone)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			e := reflect.New(v.Type().Elem()).Elem() // a map's values cannot be set in place
			e.Set(v.MapIndex(k))
			inZone(e, zone)
			v.SetMapIndex(k, e)
		}
	default: // holds no time
	}
}

// SiteTime has the times of all answers from now on in the site's own zone,
// for people; JSON stays UTC.
func (c *Client) SiteTime() *Client {
	c.siteTime = true
	return c
}

// Zone is the site's, as the last answer told; nil before the first.
func (c *Client) Zone() *time.Location { return c.zone }
